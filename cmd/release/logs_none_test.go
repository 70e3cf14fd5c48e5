package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

// An agent that knows r1 to r10 is asked for logs of releases that have none.
func TestNoLogs(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	agent := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"releases": []api.Release{{ID: "r1"}, {ID: "r9"}, {ID: "r10"}}})
	})}
	t.Cleanup(func() { _ = agent.Close() })
	go func() { _ = agent.Serve(l) }()
	with := func() []string { return []string{"r10", "r9", "r10"} }
	for name, c := range map[string]struct {
		release string
		gone    bool
		with    []string
		says    []string
	}{
		"no such release":            {"r99", false, with(), []string{"shop/production: it has no release r99", "output of r9, r10: release logs --release r10 ·", "release history"}},
		"no such release, gone":      {"r99", true, with(), []string{"it has no release r99", "release logs --release r10 --previous"}},
		"nothing at all":             {"r99", false, nil, []string{"it has no release r99", "release history"}},
		"a release without nodes":    {"r1", false, with(), []string{"show logs of r1: it has no node", "output of r9, r10", "release logs --previous"}},
		"a release of which is kept": {"r1", true, with(), []string{"nodes of r1 that are gone: none is kept", "output of r9, r10"}},
		"an app without nodes":       {"", false, nil, []string{"show logs of shop/production: it has no node", "release logs --previous"}},
		"an app, gone":               {"", true, nil, []string{"nodes of shop/production that are gone: none is kept", "release logs shows"}},
	} {
		err := noLogs(context.Background(), api.NewClient(socket), api.App{App: "shop", Env: "production"}, c.release, c.gone, c.with)
		if !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text := err.Error() + " → " + fault.All(err)[0].Hint
		for _, want := range c.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q lacks %q", name, text, want)
			}
		}
	}
}
