package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded"
)

// TestReviveGivesTheRouterItsTime: the question that found the router gone has a few seconds, a start may need more.
func TestReviveGivesTheRouterItsTime(t *testing.T) {
	starts := 0
	k := &keptRouter{Client: embedded.NewClient(t.TempDir()), log: slog.New(slog.DiscardHandler)}
	k.start = func(ctx context.Context) error {
		starts++
		if _, bounded := ctx.Deadline(); bounded {
			t.Error("the start is bounded by the deadline of the question")
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := k.Observe(ctx); !errors.Is(err, router.ErrUnavailable) {
		t.Errorf("observe: %v, want that the router is unavailable", err)
	}
	if starts != 1 {
		t.Errorf("it was started %d times, want 1", starts)
	}
	if _, err := k.Observe(ctx); !errors.Is(err, router.ErrUnavailable) || starts != 1 {
		t.Errorf("again at once: %v, %d starts", err, starts)
	}
}

// What a person should do about a certificate stands beside its listener.
func TestRouterStatusWarns(t *testing.T) {
	var text bytes.Buffer
	c := &cli{out: newOutput(&text, &text, func(string) (string, bool) { return "", false })}
	s := embedded.Status{PID: 1, Listeners: []router.ListenerState{{Listen: ":8443", Warning: "the certificate of shop.example has expired"}, {Listen: ":8080"}}}
	if err := c.routerResult("/state/router", s, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{":8443 the certificate of shop.example has expired", ":8080 ok"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, text.String())
		}
	}
}

// A router whose program file cannot be looked at is known by its version.
func TestRouterOfAnotherProgram(t *testing.T) {
	own, err := os.Stat(selfPath())
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		exe, version string
		want         bool
	}{
		"the same file":        {selfPath(), "old", false},
		"another file":         {other, programVersion(), true},
		"hidden, this version": {other + "/exe", programVersion(), false},
		"hidden, another one":  {other + "/exe", "old", true},
	} {
		if got := runsOther(embedded.Status{Version: tt.version}, tt.exe, own); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// A certificate that somebody should look at and a router of another version are both told.
func TestRouterCheckTellsAll(t *testing.T) {
	s := embedded.Status{PID: 1, Version: "old", Listeners: []router.ListenerState{
		{Listen: ":8443", Warning: "the certificate of shop.example has expired"}, {Listen: ":9443", Warning: "the certificate of a.example has expired"},
	}}
	check := checkOfRouter(s)
	for _, want := range []string{"runs version old", ":8443: the certificate of shop.example has expired", ":9443: the certificate of a.example"} {
		if check.State != "warn" || !strings.Contains(check.Message, want) {
			t.Errorf("%+v, want %q", check, want)
		}
	}
	if want := "release router upgrade; see docs/router.md, HTTPS"; check.Hint != want {
		t.Errorf("hint %q, want %q", check.Hint, want)
	}
	s.Version, s.Listeners = programVersion(), nil
	if check := checkOfRouter(s); check.State != "ok" {
		t.Errorf("nothing is wrong: %+v", check)
	}
}
