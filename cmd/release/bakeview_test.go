package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/fault"
)

// TestBakeThatASignalEnds blames nothing in the recipe.
func TestBakeThatASignalEnds(t *testing.T) {
	inRecipe := fault.New(fault.Failed, "packages 21: fetch x: %w", context.Canceled).At("recipe.yaml", 3, 7)
	for _, c := range []struct {
		signal os.Signal
		step   string
		err    error
		want   string
	}{
		{os.Interrupt, "packages 21", inRecipe, "interrupted, in step packages 21; the next bake goes on from there"},
		{os.Interrupt, "", fmt.Errorf("x: %w", interruption(os.Interrupt)), "interrupted; the next bake goes on from there"},
		{syscall.SIGTERM, "run make", inRecipe, "ended by a signal: terminated, in step run make; the next bake goes on from there"},
		{os.Interrupt, "run make", errors.New("no space left"), "no space left"},
		{nil, "run make", inRecipe, inRecipe.Error()},
	} {
		ctx, cancel := context.WithCancelCause(context.Background())
		if c.signal != nil {
			cancel(interruption(c.signal))
		}
		var at bakePlace
		at.event(builder.Event{Kind: builder.Started, Step: c.step})
		at.event(builder.Event{Kind: builder.Output, Step: "other"})
		if err := at.ended(ctx, c.err); err.Error() != c.want {
			t.Errorf("%v: %v, want %s", c.signal, err, c.want)
		}
		cancel(nil)
	}
}

// The columns of steps stand below each other however many there are, and a test of the image shows no size.
func TestStepLines(t *testing.T) {
	var buf bytes.Buffer
	o := newOutput(&buf, &buf, func(string) (string, bool) { return "", false })
	for _, total := range []int{1, 9, 10, 12, 105} {
		column := -1
		for _, index := range []int{1, min(9, total), total} {
			line := o.stepLine(builder.Event{Kind: builder.Done, Step: "copy a to /b", Index: index, Total: total, Bytes: 1500, Seconds: 0.25})
			if at := strings.Index(line, "copy"); column < 0 {
				column = at
			} else if at != column {
				t.Errorf("step %d of %d: %q begins in column %d, others in %d", index, total, line, at, column)
			}
			if !strings.Contains(line, "1.5 kB  250 ms") {
				t.Errorf("%q", line)
			}
		}
	}
	step := o.stepLine(builder.Event{Kind: builder.Done, Step: "run true", Index: 1, Total: 2, Seconds: 1})
	test := o.stepLine(builder.Event{Kind: builder.Done, Step: "test true", Index: 2, Total: 2, Seconds: 1, Test: true})
	if strings.Contains(test, " B") || len(test) != len(step) || !strings.HasSuffix(test, "  1 s") {
		t.Errorf("%q\n%q", step, test)
	}
}
