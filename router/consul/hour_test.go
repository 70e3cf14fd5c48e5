package consul

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/router"
)

// smallConsul answers what an edge asks, in the clock of a synctest bubble: a real Consul is in the other tests, and an hour is not.
type smallConsul struct {
	mu       sync.Mutex
	away     bool
	asked    int
	index    uint64
	changed  chan struct{}
	table    []byte
	sessions map[string]bool
	record   []byte // of the edge
}

func (c *smallConsul) RoundTrip(req *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.away {
		return nil, syscall.ECONNREFUSED
	}
	path := strings.TrimPrefix(req.URL.Path, "/v1/")
	switch {
	case path == "session/create":
		id := fmt.Sprint("session-", len(c.sessions))
		c.sessions[id] = true
		return c.answer(200, fmt.Sprintf(`{"ID": %q}`, id))
	case strings.HasPrefix(path, "session/renew/"):
		id := strings.TrimPrefix(path, "session/renew/")
		if !c.sessions[id] {
			return c.answer(404, "")
		}
		return c.answer(200, fmt.Sprintf(`[{"ID": %q, "TTL": "10s"}]`, id))
	case req.Method == http.MethodPut:
		if !c.sessions[req.URL.Query().Get("acquire")] {
			return c.answer(500, "invalid session")
		}
		c.record, _ = io.ReadAll(req.Body)
		return c.answer(200, "true")
	case strings.HasSuffix(path, "router/table"):
		if req.URL.Query().Get("index") == fmt.Sprint(c.index) {
			c.wait(req.Context())
		}
		if c.away {
			return nil, syscall.ECONNRESET
		}
		return c.answer(200, fmt.Sprintf(`[{"Key": "release/router/table", "ModifyIndex": %d, "Value": %q}]`, c.index, base64.StdEncoding.EncodeToString(c.table)))
	}
	if req.URL.Query().Get("index") != "" {
		c.wait(req.Context())
	}
	return c.answer(404, "")
}

// wait holds a blocking query. It is called with mu held, which it gives back meanwhile.
func (c *smallConsul) wait(ctx context.Context) {
	changed := c.changed
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-changed:
	case <-ctx.Done():
	case <-time.After(time.Minute):
	}
}

func (c *smallConsul) answer(status int, body string) (*http.Response, error) {
	h := http.Header{"X-Consul-Index": {fmt.Sprint(c.index)}}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// change changes something, which ends all blocking queries.
func (c *smallConsul) change(how func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	how()
	c.index++
	close(c.changed)
	c.changed = make(chan struct{})
}

// saw is how often it was asked, and the edge's record.
func (c *smallConsul) saw() (asked int, record []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked, c.record
}

func (c *smallConsul) put(t *testing.T, table router.Table) {
	t.Helper()
	value, err := encode(table)
	if err != nil {
		t.Fatal(err)
	}
	c.change(func() { c.table = value })
}

// keeper is a data plane that only keeps its table.
type keeper struct {
	router.Local
	mu    sync.Mutex
	table router.Table
}

func (k *keeper) Edge() (id, instance string) { return "edge", "1" }

func (k *keeper) Applied(context.Context) (router.Table, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.table.Version == (router.Version{}) {
		return k.table, router.ErrNoTable
	}
	return k.table, nil
}

func (k *keeper) Apply(_ context.Context, t router.Table) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.table = t
	return nil
}

func (k *keeper) Observe(context.Context) (router.Observation, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return router.Observation{Edges: []router.Edge{{ID: "edge", Instance: "1", Confirmed: k.table.Version}}}, nil
}

// Consul is away for an hour: the edge keeps its table, asks seldom and says it once; then it has the newest table and is registered
// within seconds, although its session ended long ago.
func TestConsulIsAwayForAnHour(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := &smallConsul{index: 1, changed: make(chan struct{}), sessions: map[string]bool{}}
		var log bytes.Buffer
		client, err := api.NewClient(&api.Config{Address: "consul.example:8500", HttpClient: &http.Client{Transport: c}})
		if err != nil {
			t.Fatal(err)
		}
		e, err := NewEdge(EdgeOptions{Options: Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, Dir: dir, Program: "test"})
		if err != nil {
			t.Fatal(err)
		}
		e.space.client = client
		local := &keeper{}
		serves := func() uint64 {
			table, _ := local.Applied(t.Context())
			return table.Version.Seq
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			e.Run(ctx, local)
		}()
		c.put(t, router.Table{Schema: router.Schema, Version: router.Version{Epoch: 1, Seq: 1}})
		time.Sleep(3 * time.Second)
		if _, record := c.saw(); serves() != 1 || len(record) == 0 {
			t.Fatalf("it serves %d, with a record of %d bytes", serves(), len(record))
		}

		c.change(func() { c.away, c.asked, c.sessions, c.record = true, 0, map[string]bool{}, nil })
		time.Sleep(time.Hour)
		if serves() != 1 {
			t.Errorf("without Consul it serves %d", serves())
		}
		if asked, _ := c.saw(); asked < 60 || asked > 150*60 {
			t.Errorf("it asked %d times", asked)
		}
		if lines := strings.Count(log.String(), "\n"); lines == 0 || lines > 4 {
			t.Errorf("it said %d times that Consul is away:\n%s", lines, log.String())
		}

		c.put(t, router.Table{Schema: router.Schema, Version: router.Version{Epoch: 1, Seq: 2}})
		c.change(func() { c.away = false })
		time.Sleep(6 * time.Second)
		if serves() != 2 {
			t.Errorf("after an hour it serves %d", serves())
		}
		var r edgeRecord
		_, record := c.saw()
		if err := decode(record, &r); err != nil || r.Edge.Confirmed.Seq != 2 {
			t.Errorf("it is registered with %+v: %v", r.Edge, err)
		}
		cancel()
		<-ended
	})
}
