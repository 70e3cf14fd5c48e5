package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
)

func TestStatusScreen(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	o := newOutput(io.Discard, io.Discard, func(string) (string, bool) { return "", false })
	s := api.Status{
		App: "shop", Env: "production", Size: 2,
		Routes: []api.Route{{Role: "web", Listen: ":8080", Version: "3.12", Weights: []api.Weight{{Release: "r7", Percent: 90}, {Release: "r8", Percent: 10}}}},
		Fleets: []api.Fleet{
			{
				ID: "shop/production/web/r7/1", Release: "r7", Image: "sha256:4f1c9a000000aaaa", Driver: "docker", State: "serving", Percent: 90,
				Rates: &api.Rates{RequestsPerSecond: 180.3, ErrorRate: 0.0012, P99: 0.0123},
				Nodes: []api.Node{
					{ID: "shop-production-r7-aaaaa", State: "healthy", Address: "10.214.0.2:8080", PID: 100, Since: now.Add(-90 * time.Second)},
					{ID: "shop-production-r7-bbbbb", State: "unhealthy", Address: "10.214.0.3:8080", PID: 101, Since: now.Add(-2 * time.Second), Health: "answered 503"},
				},
			},
			{
				ID: "shop/production/web/r8/1", Release: "r8", Image: "sha256:777777777777bbbb", Driver: "docker", State: "serving", Percent: 10,
				Nodes: []api.Node{{ID: "shop-production-r8-ccccc", State: "healthy", Address: "10.214.0.4:8080", PID: 102, Since: now}},
			},
			{
				ID: "shop/production/web/r6/1", Release: "r6", Image: "sha256:999999999999cccc", Driver: "docker", State: "shooting", InFlight: 343, Long: 340,
				Deadline: now.Add(9*time.Minute + 30*time.Second), Reason: "replaced by a newer release",
				Nodes: []api.Node{{ID: "shop-production-r6-ddddd", State: "draining", Address: "10.214.0.5:8080", PID: 103, Since: now, Reason: "asked for", InFlight: 2, Long: 1, Deadline: now.Add(time.Minute)}},
			},
		},
		Operation: &api.Operation{ID: "op-9", Kind: "cutover", Release: "r8", By: "ann@laptop", At: now.Add(-time.Minute), Phase: "holding", Waits: "the hold at 10 %"},
		Next:      "release abort",
	}
	golden(t, "testdata/status.golden", []byte(strings.Join(o.statusLines(s, now), "\n")+"\n"))
}

// All apps of an agent stand in a line each, and what keeps one of them is seen there.
func TestStatusOfAllApps(t *testing.T) {
	o := newOutput(io.Discard, io.Discard, func(string) (string, bool) { return "", false })
	route := func(listen string, shares ...api.Weight) []api.Route {
		return []api.Route{{Role: "api", Internal: true, Listen: "10.0.0.1:20100"}, {Role: "web", Listen: listen, Weights: shares}}
	}
	nodes := func(states ...string) []api.Fleet {
		var fl api.Fleet
		for _, s := range states {
			fl.Nodes = append(fl.Nodes, api.Node{State: s})
		}
		return []api.Fleet{fl}
	}
	all := []api.Status{
		{App: "blog", Env: "production"},
		{App: "shop", Env: "production", Routes: route(":443", api.Weight{Release: "r7", Percent: 90}, api.Weight{Release: "r8", Percent: 10}), Fleets: nodes("healthy", "unhealthy", "draining"),
			Operation: &api.Operation{Kind: "up", Release: "r8", Phase: "holding", Gate: "ops", Waits: "approval by ops: release approve"}},
		{App: "shop", Env: "staging", Routes: route(":8081", api.Weight{Release: "r9", Percent: 100}), Fleets: nodes("healthy"),
			Operation: &api.Operation{Kind: "launch", Release: "r10", Phase: "waiting for health"}},
	}
	want := `APP              ROUTE  TRAFFIC           NODES        NOW
blog/production         none              0/0 healthy  nothing runs
shop/production  :443   r7 90 %, r8 10 %  1/2 healthy  up r8: waits for approval by ops: release approve
shop/staging     :8081  r9 100 %          1/1 healthy  launch r10: waiting for health`
	if got := strings.Join(o.statusesLines(all, time.Time{}), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := o.statusesLines(nil, time.Time{}); len(got) != 1 || got[0] != "the agent knows no app" {
		t.Errorf("of none: %q", got)
	}
	o.verbose = true
	if got := strings.Join(o.statusesLines(all, time.Time{}), "\n"); !strings.Contains(got, "shop/staging\n") || strings.Contains(got, "TRAFFIC") {
		t.Errorf("with -v\n%s", got)
	}
}

// What is held by itself is not called paused, and says for whom it waits.
func TestStatusOfWhatIsHeld(t *testing.T) {
	o := newOutput(io.Discard, io.Discard, func(string) (string, bool) { return "", false })
	op := api.Operation{ID: "op-9", Kind: "up", Release: "r8", Phase: "holding", Paused: true, Waits: "a person: release resume, or release abort"}
	for want, held := range map[string]string{
		"up r8: holding, paused, waits for a person: release resume, or release abort": "",
		"up r8: holding, held, waits for a person: release resume, or release abort":   "too few requests",
	} {
		op.Held = held
		if got := strings.Join(o.operationLines(api.Status{Operation: &op}, time.Time{}), "\n"); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// What a fleet holds is told with when that ends, and nothing else.
func TestFleetLeft(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	soon := now.Add(time.Minute)
	for want, fl := range map[string]api.Fleet{
		"":                           {State: "serving", InFlight: 9},
		"1 request, for 1 m at most": {State: "draining", InFlight: 1, Deadline: soon},
		"3 long connections":         {State: "warm", InFlight: 4, Long: 3},
		"1 request, 3 long connections, for 1 m at most":   {State: "shooting", InFlight: 4, Long: 3, Deadline: soon},
		"3 long connections, being closed":                 {State: "shooting", InFlight: 3, Long: 3, Deadline: now, Closing: true},
		"2 requests, 3 long connections, sessions for 1 m": {State: "draining", InFlight: 5, Long: 3, Deadline: soon, Sessions: soon},
		"3 long connections, sessions for 1 m":             {State: "serving", InFlight: 5, Long: 3, Sessions: soon},
	} {
		if got := fleetLeft(fl, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestLedgerText(t *testing.T) {
	l := api.Ledger{Requests: 1021, Failed: 3, Retried: 2, Cut: 4}
	if got := ledgerText(l); got != "1021 requests, 3 failed, 2 retried, 4 cut" {
		t.Error(got)
	}
	l.Causes, l.Rejected = api.Causes{Reset: 5, NoNode: 1}, 7
	l.ByRelease = []api.ReleaseLedger{{Release: "r7", Requests: 1000, Reset: 5}, {Release: "r8", Requests: 21, Cut: 4}}
	if got := ledgerText(l); got != "1021 requests, 3 failed, 2 retried, 4 cut (5 reset, 1 no node, 7 rejected)" {
		t.Error(got)
	}
	l.Causes.Status5x = 9
	if got := ledgerText(l); !strings.HasPrefix(got, "1021 requests, 3 failed, 9 answered 5xx by nodes, 2 retried") {
		t.Error(got)
	}
	want := "  RELEASE  REQUESTS  CONNECT  RESET  TIMEOUT  5XX  CUT\n  r7       1000      0        5      0        0    0\n  r8       21        0        0      0        0    4"
	if got := strings.Join(ledgerLines(l, "  "), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{size(0), "0 B"}, {size(999), "999 B"}, {size(6_201_506), "6.2 MB"}, {size(3e15), "3.0 PB"},
		{span(4 * time.Millisecond), "4 ms"}, {span(2500 * time.Millisecond), "2.5 s"}, {span(65 * time.Second), "1 m 05 s"},
		{span(25 * time.Hour), "25 h"}, {span(72 * time.Hour), "3 days"},
		{shortDigest("sha256:0123456789abcdef"), "0123456789ab"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
