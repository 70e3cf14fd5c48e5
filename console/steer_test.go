package console

import (
	"context"
	"net/http"
	"testing"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator"
)

// Root speaks for whom it says; others are who the kernel says.
func TestApprover(t *testing.T) {
	root := &caller{root: true, origin: orchestrator.Origin{User: "root"}}
	ann := &caller{origin: orchestrator.Origin{User: "ann"}}
	for _, c := range []struct {
		name     string
		caller   *caller
		in       api.Steer
		who, by  string
		isDenied bool
	}{
		{"sudo", root, api.Steer{By: "ann@desk"}, "ann", "ann@desk", false},
		{"root for another", root, api.Steer{By: "root@desk", As: "bob"}, "bob", "bob (root@desk)", false},
		{"root for itself", root, api.Steer{By: "root@desk", As: "root"}, "root", "root@desk", false},
		{"a user", ann, api.Steer{By: "ann@desk"}, "ann", "ann@desk", false},
		{"a user for itself", ann, api.Steer{By: "ann@desk", As: "ann"}, "ann", "ann@desk", false},
		{"a user who says to be another", ann, api.Steer{By: "bob@desk"}, "ann", "ann@desk", false},
		{"a user for another", ann, api.Steer{By: "ann@desk", As: "bob"}, "", "", true},
		{"nobody knows", nil, api.Steer{By: "ann@desk", As: "ann"}, "", "ann@desk", false},
	} {
		r := &http.Request{}
		if c.caller != nil {
			r = r.WithContext(context.WithValue(t.Context(), callerKey{}, *c.caller))
		}
		who, by, err := approver(r, c.in)
		if who != c.who || by != c.by || fault.Is(err, fault.Denied) != c.isDenied {
			t.Errorf("%s: %q, %q, %v", c.name, who, by, err)
		}
	}
}
