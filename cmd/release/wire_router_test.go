package main

import (
	"context"
	"errors"
	"log/slog"
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
