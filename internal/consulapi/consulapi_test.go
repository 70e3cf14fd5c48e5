package consulapi

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/fault"
)

func TestExplain(t *testing.T) {
	failed := func(text string) error { return errors.New("Failed request: " + text) } // as transactions say it
	tests := map[string]struct {
		err  error
		want fault.Code
		hint string
	}{
		"denied":            {api.StatusError{Code: 403, Body: "Permission denied: token with AccessorID 'x' lacks permission 'key:write'"}, fault.Denied, `key_prefix "release/"`},
		"unknown token":     {api.StatusError{Code: 403, Body: "ACL not found"}, fault.Denied, "CONSUL_HTTP_TOKEN"},
		"denied in a txn":   {failed("Permission denied"), fault.Denied, `session_prefix ""`},
		"no leader":         {api.StatusError{Code: 500, Body: "No cluster leader"}, fault.Unavailable, "more than half"},
		"no leader, a txn":  {failed("rpc error making call: No cluster leader"), fault.Unavailable, "more than half"},
		"lost leadership":   {api.StatusError{Code: 500, Body: "leadership lost while committing log"}, fault.Unavailable, "more than half"},
		"refused":           {&url.Error{Op: "Get", URL: "http://x", Err: syscall.ECONNREFUSED}, fault.Unavailable, "consul members"},
		"rate limited":      {api.StatusError{Code: 429, Body: "Your IP is issuing too many concurrent connections"}, fault.Unavailable, "consul members"},
		"renewal failed":    {errors.New("Unexpected response code: 500"), fault.Unavailable, "consul members"},
		"too large":         {failed("Request body(600000 bytes) too large, max size: 524288 bytes. See x."), fault.NoSpace, "txn_max_req_len"},
		"value too large":   {api.StatusError{Code: 413, Body: "Value for key"}, fault.NoSpace, "kv_max_value_size"},
		"unknown authority": {&url.Error{Op: "Get", URL: "https://x", Err: x509.UnknownAuthorityError{}}, fault.Denied, "CONSUL_CACERT"},
		"wrong scheme":      {api.StatusError{Code: 400, Body: "Client sent an HTTP request to an HTTPS server."}, fault.Invalid, "https://"},
		"a class already":   {fmt.Errorf("x: %w", fault.New(fault.Busy, "y")), fault.Busy, ""},
		"anything else":     {errors.New("strange"), fault.Failed, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := Settings{Address: "10.0.0.1:8500"}.Explain(test.err, Policy("release/"))
			if fault.CodeOf(got) != test.want || !errors.Is(got, test.err) {
				t.Fatalf("%v: %s, want %s", got, fault.CodeOf(got), test.want)
			}
			var f *fault.Error
			if test.hint != "" && (!errors.As(got, &f) || !strings.Contains(f.Hint, test.hint)) {
				t.Errorf("hint %q lacks %q", f.Hint, test.hint)
			}
		})
	}
	if err := (Settings{}).Explain(nil, ""); err != nil {
		t.Error(err)
	}
}

func TestSettingsBeforeVariables(t *testing.T) {
	t.Setenv("CONSUL_HTTP_ADDR", "10.9.9.9:8500")
	if got := (Settings{}).Where(); got != "10.9.9.9:8500" {
		t.Errorf("address %q, want the variable's", got)
	}
	if got := (Settings{Address: "https://c:8501"}).Where(); got != "https://c:8501" {
		t.Errorf("address %q, want the setting", got)
	}
	if _, err := (Settings{CA: "/none/ca.pem"}).Client(); !fault.Is(err, fault.Invalid) {
		t.Errorf("a CA that is not there: %v", err)
	}
	if _, err := (Settings{Address: "gopher://c"}).Client(); !fault.Is(err, fault.Invalid) {
		t.Errorf("a strange scheme: %v", err)
	}
}

func TestNextIndex(t *testing.T) {
	for _, test := range []struct{ last, got, want uint64 }{{0, 0, 1}, {0, 7, 7}, {7, 7, 7}, {7, 9, 9}, {9, 7, 0}, {9, 0, 0}} {
		if next := NextIndex(test.last, test.got); next != test.want {
			t.Errorf("after %d, %d: wait behind %d, want %d", test.last, test.got, next, test.want)
		}
	}
}

// Errors are followed by growing pauses and a query that does not wait; a restored state, which also shows in an answer that
// says nothing new before its time, by one too.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		answers := []uint64{5, 9, 0, 0, 0, 12, 3, 4, 4, 4, 4} // 0: an error
		var asked []uint64
		var failures int
		began := time.Now()
		Follow(ctx, func(q *api.QueryOptions) (*api.QueryMeta, error) {
			asked = append(asked, q.WaitIndex)
			index := answers[len(asked)-1]
			if len(asked) == len(answers) {
				cancel()
			}
			if index == 0 {
				return nil, errors.New("away")
			}
			return &api.QueryMeta{LastIndex: index}, nil
		}, func(error) { failures++ })
		if want := "[0 5 9 0 0 0 12 0 4 0 4]"; fmt.Sprint(asked) != want {
			t.Errorf("waited behind %v, want %v", asked, want)
		}
		if took := time.Since(began); failures != 3 || took < 350*time.Millisecond || took > 700*time.Millisecond {
			t.Errorf("%d failures took %s", failures, took)
		}
	})
}
