package console_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/console"
	"github.com/bootandshoot/release/internal/fault"
)

// What no file and no program of ours could ask is refused at the door, whoever asks it.
func TestHostileRequests(t *testing.T) {
	f := newFake()
	server := httptest.NewServer(console.New(console.Options{Orchestrator: f}))
	defer server.Close()
	const app = `{"app":"shop","env":"production","route":{"listen":":1"}`
	for name, c := range map[string]struct{ path, body, says string }{
		"a path":          {"/v1/apps/..%2F..%2Fx/production/steer", `{"verb":"freeze","reason":"x"}`, "is not an app"},
		"an environment":  {"/v1/apps/shop/a%0Ab/steer", `{"verb":"freeze","reason":"x"}`, "is not an app"},
		"another's":       {"/v1/apps/other/production/operations", `{"kind":"up","config":` + app + `}}`, "the configuration is that of shop/production"},
		"an empty hook":   {"/v1/apps/shop/production/operations", `{"kind":"up","config":` + app + `,"hooks":{"on_abort":[{"cmd":[]}]}}}`, "must begin with a program"},
		"a plan of one":   {"/v1/apps/shop/production/plan", `{"kind":"up","config":` + app + `,"fleet":{"size":-1}}}`, "fleet.size must be at least 1"},
		"an unknown key":  {"/v1/apps/shop/production/operations", `{"kind":"up","sudo":true}`, "unknown field"},
		"not an argument": {"/v1/apps/shop/production/operations", `{"kind":"up","config":7}`, "read the configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := http.Post(server.URL+c.path, "application/json", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var failed api.Failed
			if err := json.NewDecoder(resp.Body).Decode(&failed); err != nil || resp.StatusCode != http.StatusBadRequest {
				t.Fatalf("status %d, %v", resp.StatusCode, err)
			}
			if failed.Error.Code != string(fault.Invalid) || !strings.Contains(failed.Error.Message, c.says) {
				t.Errorf("%+v, want something of %q", failed.Error, c.says)
			}
		})
	}
}

// Tasks have the author that the kernel names, as operations do.
func TestWhoRunsTasks(t *testing.T) {
	client := serveWith(t, console.Options{Orchestrator: newFake(), UserOf: func(uid int) (string, bool) { return "bob", uid != os.Getuid() }})
	task, err := client.RunTask(t.Context(), shop(), api.TaskRequest{By: "root@laptop", Command: []string{"/x"}})
	if err != nil || task.By != "bob@laptop" {
		t.Errorf("by %q, %v", task.By, err)
	}
}
