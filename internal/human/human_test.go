package human_test

import (
	"math"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/human"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 850 * time.Microsecond: "0.8 ms", 1500 * time.Microsecond: "1.5 ms", 9990 * time.Microsecond: "10 ms", 340 * time.Millisecond: "340 ms",
		999500 * time.Microsecond: "1 s", time.Second: "1 s", 2540 * time.Millisecond: "2.5 s", 30 * time.Second: "30 s", 59960 * time.Millisecond: "1 m",
		15 * time.Minute: "15 m", 65 * time.Second: "1 m 05 s", time.Hour - time.Second: "59 m 59 s", time.Hour: "1 h", 200 * time.Minute: "3 h 20 m",
		47*time.Hour + 59*time.Minute: "47 h 59 m", 48 * time.Hour: "2 days", 100 * time.Hour: "4 days", -1500 * time.Millisecond: "-1.5 s",
	} {
		if got := human.Span(d); got != want {
			t.Errorf("%s: %q, want %q", time.Duration(d), got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 1536: "1.5 kB", 120_800_000: "120.8 MB", 999_999: "1.0 MB", math.MaxInt64: "9.2 EB",
	} {
		if got := human.Size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 requests", 1: "1 request", 2: "2 requests"} {
		if got := human.Count(n, "request"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := human.Are(uint64(1), "request") + ", " + human.Are(0, "request") + ", " + human.Were(1, "request") + ", " + human.Were(int64(2), "request"); got != "1 request is, 0 requests are, 1 request was, 2 requests were" {
		t.Errorf("%q", got)
	}
}
