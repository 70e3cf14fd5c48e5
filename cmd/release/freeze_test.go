package main

import (
	"testing"
	"time"
)

func TestMomentAfter(t *testing.T) {
	zone := time.FixedZone("X", 3600)
	now := time.Date(2026, 11, 20, 14, 30, 0, 0, zone)
	for text, want := range map[string]string{
		"2h":                   "2026-11-20T16:30:00+01:00",
		"90m":                  "2026-11-20T16:00:00+01:00",
		"18:00":                "2026-11-20T18:00:00+01:00",
		"09:15":                "2026-11-21T09:15:00+01:00",
		"2026-11-30":           "2026-11-30T00:00:00+01:00",
		"2026-11-30T18:00":     "2026-11-30T18:00:00+01:00",
		"2026-11-30 18:00":     "2026-11-30T18:00:00+01:00",
		"2026-11-30T18:00:00Z": "2026-11-30T18:00:00Z",
		"2026-11-20":           "", // it has begun already
		"-2h":                  "",
		"0s":                   "",
		"soon":                 "",
		"":                     "",
	} {
		got, err := momentAfter(now, text)
		if err != nil {
			if want != "" {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		if got.Format(time.RFC3339) != want {
			t.Errorf("%q is %s, want %q", text, got.Format(time.RFC3339), want)
		}
	}
}
