package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
)

// An agent that is killed after a command's last line, before its end is told: the next one is asked about the same task.
func TestAttendFindsItsTaskAgain(t *testing.T) {
	socket := filepath.Join(t.TempDir(), api.SocketName)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/agent", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(api.Agent{}) })
	mux.HandleFunc("GET /v1/apps/shop/production/tasks/task-7/output", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v1/apps/shop/production/tasks/task-7", func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		_ = json.NewEncoder(w).Encode(api.Task{ID: "task-7", State: "done", ExitCode: 5, Ended: time.Now()})
	})
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: mux}}
	server.Start()
	t.Cleanup(server.Close)
	c := newCLI(strings.NewReader(""), io.Discard, &bytes.Buffer{}, func(string) (string, bool) { return "", false })
	a := &attendant{c: c, client: api.NewClient(socket), app: api.App{App: "shop", Env: "production"}, task: api.Task{ID: "task-7"}}
	if err := a.follow(t.Context()); err != nil || asked.Load() != 2 || a.task.ExitCode != 5 {
		t.Errorf("asked %d times, task %+v: %v", asked.Load(), a.task, err)
	}
}
