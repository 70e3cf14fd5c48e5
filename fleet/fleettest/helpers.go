package fleettest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
)

const patience = 30 * time.Second

// Eventually polls until check is content.
func Eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	Within(t, patience, what, check)
}

// Within is Eventually with another patience.
func Within(t *testing.T, patience time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Log is a driver's log among the output of the test, while that runs: drivers have something to say afterwards, too.
func Log(t *testing.T, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: level}))
}

type testLog struct{ t *testing.T }

// Write is io.Writer's.
func (l testLog) Write(p []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// cleanupContext is for the end of a test, when its own context has ended.
func cleanupContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// get asks a node. Each request has a connection of its own: addresses are used again.
func get(n fleet.Node, path string, query ...string) (string, error) {
	values := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + n.Address + path + "?" + values.Encode())
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", path, resp.Status, body)
	}
	return string(body), err
}

// ask is get that must succeed.
func ask(t *testing.T, n fleet.Node, path string, query ...string) string {
	t.Helper()
	body, err := get(n, path, query...)
	if err != nil {
		t.Fatalf("ask %s for %s: %v", n.ID.Node, path, err)
	}
	return body
}

// end makes a node end by itself; its answer may get lost.
func end(n fleet.Node, code string) { _, _ = get(n, "/exit", "code", code) }
