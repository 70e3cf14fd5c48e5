package embedded

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// controlServer answers on a socket as the router does; opened counts its connections, and those that wait for a question go to idle.
func controlServer(t *testing.T, handler http.HandlerFunc, idle chan<- net.Conn) (transport *controlTransport, opened *atomic.Int64, server *http.Server) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server = &http.Server{Handler: handler, ConnState: func(c net.Conn, state http.ConnState) {
		if state == http.StateIdle && idle != nil {
			idle <- c
		}
	}}
	go func() { _ = server.Serve(controlListener{l.(*net.UnixListener)}) }()
	t.Cleanup(func() { _ = server.Close() })
	opened = new(atomic.Int64)
	return &controlTransport{dial: func(ctx context.Context) (net.Conn, error) {
		opened.Add(1)
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}, opened, server
}

func ask(ctx context.Context, t *testing.T, tr http.RoundTripper, body string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://router"+applyPath, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

func TestControlTransport(t *testing.T) {
	entered := make(chan struct{}, 1)
	tr, opened, server := controlServer(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		if string(b) == "wait" {
			entered <- struct{}{}
			<-r.Context().Done()
			return
		}
		_, _ = w.Write(b)
	}, nil)
	for _, body := range []string{"", "one", strings.Repeat("x", 1<<20)} {
		if status, got, err := ask(t.Context(), t, tr, body); err != nil || status != http.StatusOK || got != body {
			t.Fatalf("asked %d bytes: %d, %d bytes, %v", len(body), status, len(got), err)
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for three questions", n)
	}
	if status, _, err := ask(t.Context(), t, tr, strings.Repeat("x", 8<<20)); err != nil || status != http.StatusRequestEntityTooLarge {
		t.Errorf("refused before its end: %d, %v", status, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := ask(ctx, t, tr, "wait"); err != context.Canceled || len(entered) > 0 {
		t.Errorf("asked after the end of its context: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if _, _, err := ask(ctx, t, tr, "wait"); err != context.Canceled {
		t.Errorf("given up: %v", err)
	}
	if _, got, err := ask(t.Context(), t, tr, "after"); err != nil || got != "after" {
		t.Errorf("after one given up: %q, %v", got, err)
	}
	_ = server.Close()
	if _, _, err := ask(t.Context(), t, tr, "x"); err == nil {
		t.Error("asked nobody")
	}
}

// A connection that its other end has given up is replaced, with the whole question.
func TestControlTransportGoneStale(t *testing.T) {
	conns := make(chan net.Conn, 4)
	tr, opened, _ := controlServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}, conns)
	for i := range 3 {
		if _, got, err := ask(t.Context(), t, tr, "question"); err != nil || got != "question" {
			t.Fatalf("question %d: %q, %v", i, got, err)
		}
		_ = (<-conns).Close()
	}
	if n := opened.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}

// What may not be done twice is asked once, whatever becomes of the connection.
func TestControlTransportAsksOnce(t *testing.T) {
	var asked atomic.Int64
	tr, _, _ := controlServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == applyPath {
			return
		}
		asked.Add(1)
		panic(http.ErrAbortHandler)
	}, nil)
	if _, _, err := ask(t.Context(), t, tr, ""); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://router/v1/upgrade", nil)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := tr.RoundTrip(req); err == nil {
		_ = res.Body.Close()
		t.Error("there is an answer")
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
