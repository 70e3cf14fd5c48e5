package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bootandshoot/release/test/load"
)

// excused is how long after a node was killed a request that it was busy with may come back as failed.
const excused = time.Second

// facts are what the demo measured.
type facts struct {
	lines  [][2]string
	killed time.Time // when the node was
	report load.Report
}

// add notes a figure: arguments fill the name's verbs first, then the value's.
func (f *facts) add(name, value string, args ...any) {
	split := strings.Count(strings.ReplaceAll(name, "%%", ""), "%")
	f.lines = append(f.lines, [2]string{fmt.Sprintf(name, args[:split]...), fmt.Sprintf(value, args[split:]...)})
}

// lost counts the failed requests: those that the killed node may have been busy with apart.
func (f *facts) lost() (lost, inKilled int) {
	for _, x := range f.report.Failures {
		if !f.killed.IsZero() && !x.At.Before(f.killed) && x.Due.Before(f.killed.Add(excused)) && x.At.Before(f.killed.Add(excused)) {
			inKilled++
			continue
		}
		lost++
	}
	lost += max(0, f.report.Failed-len(f.report.Failures))
	return lost, inKilled
}

func (f *facts) summary(w io.Writer, driver string, took time.Duration) {
	lost, inKilled := f.lost()
	f.add("requests, at %d a second", "%d", rate, f.report.Sent)
	f.add("failed requests", "%d", lost)
	f.add("failed in the node that was killed", "%d", inKilled)
	f.add("latency p50, p99, longest", "%s, %s, %s", round(f.report.Latency.P50), round(f.report.Latency.P99), round(f.report.Latency.Max))
	f.add("the whole demo", "%.0f s", took.Seconds())
	fmt.Fprintf(w, "\n\nWhat was measured, with the %s driver\n\n", driver)
	for _, line := range f.lines {
		fmt.Fprintf(w, "  %-48s %s\n", line[0], line[1])
	}
	fmt.Fprintln(w)
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// verdict is an error when a request was lost that no killed node was busy with.
func (f *facts) verdict() error {
	if lost, _ := f.lost(); lost > 0 {
		return fmt.Errorf("%d requests failed, the first: %+v", lost, f.report.Failures[0])
	}
	return nil
}
