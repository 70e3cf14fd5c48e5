package routertest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestNode is a real HTTP server that answers with its name.
type TestNode struct {
	Name    string
	Address string
	Seen    atomic.Int64 // requests
	Server  *httptest.Server
	Leaked  atomic.Int64 // requests that carried a header which no node may see
}

// StartNode starts a node. With a handler it answers what the handler does, else its name.
func StartNode(t *testing.T, name string, handler http.HandlerFunc) *TestNode {
	t.Helper()
	n := &TestNode{Name: name}
	if handler == nil {
		handler = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }
	}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Seen.Add(1)
		if r.Header.Get("X-Release") != "" || r.Header.Get("X-Release-Key") != "" {
			n.Leaked.Add(1)
		}
		handler(w, r)
	}))
	n.Address = strings.TrimPrefix(n.Server.URL, "http://")
	t.Cleanup(n.Server.Close)
	return n
}

// DeadNode is a node whose address refuses connections.
func DeadNode(t *testing.T, name string) *TestNode {
	t.Helper()
	return &TestNode{Name: name, Address: FreeListen(t)}
}
