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
		},
		Operation: &api.Operation{ID: "op-9", Kind: "cutover", Release: "r8", By: "ann@laptop", At: now.Add(-time.Minute), Phase: "holding", Waits: "the hold at 10 %"},
		Next:      "release abort",
	}
	golden(t, "testdata/status.golden", []byte(strings.Join(o.statusLines(s, now), "\n")+"\n"))
}

func TestFormat(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{size(0), "0 B"}, {size(999), "999 B"}, {size(6_201_506), "6.2 MB"}, {size(3e15), "3.0 PB"},
		{span(4 * time.Millisecond), "4 ms"}, {span(2500 * time.Millisecond), "2.5 s"}, {span(65 * time.Second), "1 m 05 s"},
		{span(25 * time.Hour), "25 h 00 m"}, {span(72 * time.Hour), "3 days"},
		{shortDigest("sha256:0123456789abcdef"), "0123456789ab"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
