package main

import (
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

func TestSinceTime(t *testing.T) {
	here := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, here)
	for text, want := range map[string]time.Time{
		"":                     {},
		"90m":                  now.Add(-90 * time.Minute),
		"7d":                   now.Add(-7 * 24 * time.Hour),
		"1y":                   now.Add(-365 * 24 * time.Hour),
		"2026-03-09":           time.Date(2026, 3, 9, 0, 0, 0, 0, here),
		"2026-03-09 08:30":     time.Date(2026, 3, 9, 8, 30, 0, 0, here),
		"2026-03-09T08:30:05":  time.Date(2026, 3, 9, 8, 30, 5, 0, here),
		"2026-03-09T08:30:05Z": time.Date(2026, 3, 9, 8, 30, 5, 0, time.UTC),
	} {
		if got, err := sinceTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "-1h", "2026-13-01", "8", "1.5d"} {
		if got, err := sinceTime(text, now); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}
