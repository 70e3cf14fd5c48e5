// Package load sends requests at a constant rate and reports what came back. It is the clock of the black-box tests
// and of the demo: the schedule does not wait for answers, and latencies count from the scheduled moment, so a stall
// of the server shows in every request that it delayed.
package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"
)

const (
	maxRequests = 5_000_000 // of one run, so that a slip of the pen fills no memory
	maxBody     = 64 << 10  // bytes of a body that Classify gets to see
	maxFailures = 1000      // failures kept with their details; all are counted
)

// Options describe a run. URL, Rate and Duration must be set.
type Options struct {
	URL           string
	Method        string        // GET when empty
	Rate          float64       // requests a second
	Duration      time.Duration // the run ends by itself after this and the answers that are still due
	Connections   int           // connections, which is also requests under way at once; 0: 64
	Timeout       time.Duration // of one request; 0: 10 s
	Headers       map[string]string
	TLS           *tls.Config
	Classify      func(Answer) Class // nil: ByVersion
	Progress      func(Counts)       // called from one goroutine every ProgressEvery and once at the end
	ProgressEvery time.Duration      // 0: 250 ms
}

// Answer is what one request got.
type Answer struct {
	Due     time.Time     // the moment the schedule gave it
	Latency time.Duration // from Due to the last byte of the answer
	Status  int           // 0 when Err is set before an answer began
	Header  http.Header
	Body    []byte // its first 64 KiB
	Err     error  // the request or the body failed
}

// Class is what an answer counts as.
type Class struct {
	Release string // who answered; empty: unknown
	Failure string // why it counts as a failure; empty: it was good
}

// ByVersion takes the release from the header X-Hello-Version and counts errors and codes from 400 up as failures.
func ByVersion(a Answer) Class {
	class := Class{Release: a.Header.Get("X-Hello-Version")}
	switch {
	case a.Err != nil:
		class.Failure = a.Err.Error()
	case a.Status >= 400:
		class.Failure = fmt.Sprintf("status %d", a.Status)
	}
	return class
}

func (o Options) withDefaults() (Options, error) {
	if o.Rate <= 0 || o.Duration <= 0 || o.URL == "" {
		return o, errors.New("load: URL, Rate and Duration must be set")
	}
	if n := o.Rate * o.Duration.Seconds(); n > maxRequests {
		return o, fmt.Errorf("load: %.0f requests are more than the %d a run may have", n, maxRequests)
	}
	if o.Connections <= 0 {
		o.Connections = 64
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Method == "" {
		o.Method = http.MethodGet
	}
	if o.Classify == nil {
		o.Classify = ByVersion
	}
	if o.ProgressEvery <= 0 {
		o.ProgressEvery = 250 * time.Millisecond
	}
	if _, err := http.NewRequest(o.Method, o.URL, nil); err != nil {
		return o, fmt.Errorf("load: %w", err)
	}
	return o, nil
}

// Run sends Rate × Duration requests, or fewer when ctx ends first, and waits for their answers. What the server does
// is in the report; the error is about the options only.
func Run(ctx context.Context, o Options) (Report, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Report{}, err
	}
	transport := &http.Transport{
		MaxConnsPerHost: o.Connections, MaxIdleConnsPerHost: o.Connections, DisableCompression: true, TLSClientConfig: o.TLS,
	}
	defer transport.CloseIdleConnections()
	r := &run{
		options: o, tally: newTally(),
		client: &http.Client{
			Transport: transport, Timeout: o.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	stopProgress := r.reportProgress()
	r.send(ctx)
	stopProgress()
	return r.tally.report(), nil
}

// longest is how long During sends at most, if its options do not say so.
const longest = 10 * time.Minute

// During is Run as long as do takes.
func During(ctx context.Context, o Options, do func()) (report Report, err error) {
	if o.Duration == 0 {
		o.Duration = longest
	}
	ctx, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { report, err = Run(ctx, o) })
	defer group.Wait() // the answers that are due are in the report
	defer stop()
	do()
	return
}

type run struct {
	options Options
	client  *http.Client
	tally   *tally
}

// send hands the scheduled moments to the workers. Requests under way when ctx ends are finished, not cut: a cut
// one would look like a lost one.
func (r *run) send(ctx context.Context) {
	due := make(chan time.Time)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(due)
	for range r.options.Connections {
		workers.Go(func() {
			for at := range due {
				r.request(at)
			}
		})
	}
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range int(r.options.Rate * r.options.Duration.Seconds()) {
		at := began.Add(time.Duration(float64(i) / r.options.Rate * float64(time.Second)))
		timer.Reset(time.Until(at))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if time.Since(began) > r.options.Duration+r.options.Timeout {
			return // the server stalls: what it delayed is in the report, the rest is not sent
		}
		select {
		case due <- at:
		case <-ctx.Done():
			return
		}
	}
}

func (r *run) request(due time.Time) {
	r.tally.sent()
	a, connections := r.ask(due)
	a.Latency = time.Since(due)
	r.tally.answered(a, r.options.Classify(a), connections)
}

// ask sends one request. It also counts the connections tried: Go's client repeats a request by itself when a kept
// connection turns out to be closed.
func (r *run) ask(due time.Time) (a Answer, connections int) {
	a.Due = due
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connections++ }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), r.options.Method, r.options.URL, nil)
	if err != nil {
		a.Err = err
		return a, connections
	}
	for key, value := range r.options.Headers {
		req.Header.Set(key, value)
		if strings.EqualFold(key, "Host") {
			req.Host = value
		}
	}
	resp, err := r.client.Do(req)
	if err != nil {
		a.Err = err
		return a, connections
	}
	defer resp.Body.Close()
	a.Status, a.Header = resp.StatusCode, resp.Header
	a.Body, a.Err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if a.Err == nil {
		_, a.Err = io.Copy(io.Discard, resp.Body)
	}
	return a, connections
}

// reportProgress calls Progress regularly until the returned function is called, which calls it once more.
func (r *run) reportProgress() (stop func()) {
	if r.options.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() {
		ticker := time.NewTicker(r.options.ProgressEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				r.options.Progress(r.tally.counts())
			case <-done:
				r.options.Progress(r.tally.counts())
				return
			}
		}
	})
	return func() { close(done); reporter.Wait() }
}
