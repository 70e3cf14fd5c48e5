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
