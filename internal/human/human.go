// Package human writes lengths of time and amounts of bytes as people read them. What programs read has its own forms.
package human

import (
	"fmt"
	"strings"
	"time"
)

// Span is a length of time: "340 ms", "2.5 s", "15 m", "1 m 05 s", "3 h 20 m", "4 days". A negative one begins with a dash.
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Span(-d)
	case d < 10*time.Millisecond:
		return decimal(float64(d)/float64(time.Millisecond)) + " ms"
	case d.Round(time.Millisecond) < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d.Round(100*time.Millisecond) < time.Minute:
		return decimal(d.Seconds()) + " s"
	case d.Round(time.Second) < time.Hour:
		d = d.Round(time.Second)
		return parts(int(d/time.Minute), "m", int(d%time.Minute/time.Second), "s")
	case d.Round(time.Minute) < 48*time.Hour:
		d = d.Round(time.Minute)
		return parts(int(d/time.Hour), "h", int(d%time.Hour/time.Minute), "m")
	}
	return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
}

// decimal has one place behind the point unless that is zero.
func decimal(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

func parts(large int, unit string, small int, below string) string {
	if small == 0 {
		return fmt.Sprintf("%d %s", large, unit)
	}
	return fmt.Sprintf("%d %s %02d %s", large, unit, small, below)
}

// Size is an amount of bytes in powers of 1000: "17 B", "1.5 kB", "120.8 MB".
func Size(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, names := float64(n), "kMGTPE"
	i := -1
	for v >= unit-0.05 && i < len(names)-1 {
		v /= unit
		i++
	}
	return fmt.Sprintf("%.1f %cB", v, names[i])
}

// Count is a number of things, with a plural in -s: "1 file", "2 files".
func Count[N int | int64 | uint64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Are is Count with the verb: "1 file is", "2 files are".
func Are[N int | int64 | uint64](n N, thing string) string {
	return Count(n, thing) + verb(n, " is", " are")
}

// Were is Are in the past: "1 file was", "2 files were".
func Were[N int | int64 | uint64](n N, thing string) string {
	return Count(n, thing) + verb(n, " was", " were")
}

func verb[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
