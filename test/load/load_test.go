package load

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestDuringEndsWithWhatItIsFor(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	few := make(chan struct{})
	report, err := During(t.Context(), Options{URL: server.URL, Rate: 1000, ProgressEvery: time.Millisecond, Progress: func(c Counts) {
		if c.Sent >= 20 {
			select {
			case <-few:
			default:
				close(few)
			}
		}
	}}, func() { <-few })
	if err != nil || report.Sent < 20 || report.OK != report.Sent {
		t.Errorf("report %s, %v", report, err)
	}
}

func TestRunCountsWhatComesBack(t *testing.T) {
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := n.Add(1)
		w.Header().Set("X-Hello-Version", fmt.Sprintf("v%d", 1+i%2))
		if r.Host != "shop.example" || r.Header.Get("X-Release") != "r2" {
			http.Error(w, "headers are missing", http.StatusBadRequest)
		} else if i%10 == 0 {
			http.Error(w, "sick", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	var last Counts
	report, err := Run(t.Context(), Options{
		URL: server.URL, Rate: 1000, Duration: 500 * time.Millisecond, Connections: 8,
		Headers:  map[string]string{"Host": "shop.example", "X-Release": "r2"},
		Progress: func(c Counts) { last = c }, ProgressEvery: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Sent != 500 || report.OK != 450 || report.Failed != 50 || len(report.Failures) != 50 {
		t.Errorf("report %s", report)
	}
	if report.ByStatus[200] != 450 || report.ByStatus[503] != 50 {
		t.Errorf("statuses %v", report.ByStatus)
	}
	if report.ByRelease["v2"] != 250 || report.ByRelease["v1"] != 200 {
		t.Errorf("releases %v", report.ByRelease)
	}
	if last.Sent != 500 || last.OK != 450 || last.Failed != 50 || last.ByRelease["v2"] != 250 {
		t.Errorf("last progress %+v", last)
	}
	if f := report.Failures[0]; f.Cause != "status 503" || f.Release != "v1" || f.At.Before(f.Due) {
		t.Errorf("failure %+v", f)
	}
	if l := report.Latency; l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max {
		t.Errorf("latency %+v", l)
	}
	if text := report.String(); !strings.Contains(text, "500 requests") || !strings.Contains(text, "status 503") {
		t.Errorf("text %s", text)
	}
}

// The schedule goes on while the server stalls, and every request that waited shows it.
func TestLatencyCountsFromTheSchedule(t *testing.T) {
	var first atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if first.CompareAndSwap(false, true) {
			time.Sleep(300 * time.Millisecond)
		}
	}))
	defer server.Close()
	report, err := Run(t.Context(), Options{URL: server.URL, Rate: 100, Duration: 400 * time.Millisecond, Connections: 1})
	if err != nil {
		t.Fatal(err)
	}
	if report.Sent != 40 || report.OK != 40 || report.Latency.P50 < 50*time.Millisecond {
		t.Errorf("report %s", report)
	}
}

func TestLostConnectionsAreFailures(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}))
	defer server.Close()
	report, err := Run(t.Context(), Options{URL: server.URL, Rate: 200, Duration: 100 * time.Millisecond})
	if err != nil || report.Failed != 20 || report.ByStatus[0] != 20 {
		t.Errorf("report %s, %v", report, err)
	}
}

func TestContextEndsTheRunAndCutsNothing(t *testing.T) {
	entered, release := make(chan struct{}, 100), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
		close(release)
	}()
	report, err := Run(ctx, Options{URL: server.URL, Rate: 10, Duration: time.Minute})
	if err != nil || report.Sent == 0 || report.Failed != 0 || report.Sent > 10 {
		t.Errorf("report %s, %v", report, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]Options{
		"no rate": {URL: "http://127.0.0.1", Duration: time.Second}, "no URL": {Rate: 1, Duration: time.Second},
		"bad URL":  {URL: "http://[", Rate: 1, Duration: time.Second},
		"too many": {URL: "http://127.0.0.1", Rate: 1e6, Duration: time.Hour},
	} {
		if _, err := Run(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
