package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

func TestAnswers(t *testing.T) {
	a := newApp("v1", "node-1")
	left := -1
	a.exit = func(code int) { left = code }
	server := httptest.NewServer(a.handler())
	defer server.Close()
	steps := []struct {
		path   string
		status int
		body   string
	}{
		{"/", 200, "hello v1 from node-1"},
		{"/healthz", 200, "ok"},
		{"/slow?ms=1", 200, "after 1ms"},
		{"/slow?ms=x", 400, "must be a number"},
		{"/slow?ms=-1", 400, "must be a number"},
		{"/none", 404, ""},
		{"/fail", 400, "?on=1"},
		{"/fail?on=1", 200, "failing: true"},
		{"/healthz", 503, "told to fail"},
		{"/", 200, "hello"},
		{"/fail?on=1&all=1", 200, "failing: true"},
		{"/", 500, "told to fail"},
		{"/fail?on=0", 200, "failing: false"},
		{"/", 200, "hello"},
		{"/healthz", 200, "ok"},
		{"/exit?code=900", 400, "must be a number"},
		{"/exit?code=3", 200, ""},
	}
	for _, step := range steps {
		status, body, header := get(t, server.URL+step.path)
		if status != step.status || !strings.Contains(body, step.body) {
			t.Errorf("%s answered %d %q, want %d %q", step.path, status, body, step.status, step.body)
		}
		if header.Get("X-Hello-Version") != "v1" || header.Get("X-Hello-Node") != "node-1" {
			t.Errorf("%s does not say who answered: %v", step.path, header)
		}
	}
	if left != 3 {
		t.Errorf("left with %d, want 3", left)
	}
}

func TestFailsNowAndThen(t *testing.T) {
	a := newApp("v1", "node-1")
	a.failEvery = 3
	server := httptest.NewServer(a.handler())
	defer server.Close()
	for i, want := range []int{200, 200, 500, 200, 200, 500} {
		if status, _, _ := get(t, server.URL+"/"); status != want {
			t.Errorf("request %d: %d, want %d", i, status, want)
		}
	}
	if status, _, _ := get(t, server.URL+"/healthz"); status != 200 {
		t.Errorf("healthz: %d", status)
	}
}

func get(t *testing.T, url string) (int, string, http.Header) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func TestWebSocketEchoes(t *testing.T) {
	server := httptest.NewServer(newApp("v1", "node-1").handler())
	defer server.Close()
	conn, err := websocket.Dial("ws"+strings.TrimPrefix(server.URL, "http")+"/ws", "", "http://elsewhere.example")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, message := range []string{"one", strings.Repeat("x", 1000)} {
		var back string
		if err := websocket.Message.Send(conn, message); err != nil {
			t.Fatal(err)
		}
		if err := websocket.Message.Receive(conn, &back); err != nil || back != message {
			t.Fatalf("got %q back, %v", back, err)
		}
	}
}

func TestStopFinishesRequests(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	entered := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-ctx.Done()
		newApp("v1", "node-1").handler().ServeHTTP(w, r)
	}), ReadHeaderTimeout: time.Second}
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, slog.New(slog.DiscardHandler), server, listener) }()
	answered := make(chan int, 1)
	go func() {
		status, _, _ := get(t, "http://"+listener.Addr().String()+"/slow?ms=50")
		answered <- status
	}()
	<-entered
	stop()
	if status := <-answered; status != http.StatusOK {
		t.Errorf("the request under way got %d", status)
	}
	if err := <-ended; err != nil {
		t.Errorf("stop: %v", err)
	}
}
