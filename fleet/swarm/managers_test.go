package swarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/fleet"
)

// fakeManager answers an engine's greeting, and everything else by answer. It gives its address.
func fakeManager(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "manager.sock")
	l, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			w.Header().Set("Api-Version", "1.41")
			return
		}
		answer(w, r)
	})}
	go server.Serve(l) //nolint:errcheck // until it is closed
	t.Cleanup(func() { server.Close() })
	return "unix://" + at
}

// leaderless is what a manager answers that is cut off from most of the others.
func leaderless(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprint(w, `{"message":"rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online."}`)
}

// asking makes a driver that knows managers and nothing else.
func asking(t *testing.T, managers ...string) *Driver {
	t.Helper()
	list, err := connect(managers)
	if err != nil {
		t.Fatal(err)
	}
	d := &Driver{managers: list, log: slog.New(slog.DiscardHandler), now: time.Now, bare: map[fleet.FleetID]map[string]time.Time{}}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestManagerWithoutLeaderIsLeft(t *testing.T) {
	cutOff := fakeManager(t, leaderless)
	well := fakeManager(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `[{"ID":"a","Description":{"Hostname":"alpha"},"Status":{"State":"ready","Addr":"10.0.0.1"}}]`)
	})
	d := asking(t, cutOff, well)
	hosts, err := d.hosts(t.Context())
	if err != nil || hosts["a"].name != "alpha" || d.current.Load() != 1 {
		t.Errorf("hosts are %v, error %v, manager %d answered", hosts, err, d.current.Load())
	}
	if _, err := asking(t, cutOff, cutOff).hosts(t.Context()); !errors.Is(err, fleet.ErrUnavailable) {
		t.Errorf("no manager has a leader: %v", err)
	}
}

// A call that its caller ends says nothing of the manager.
func TestCallThatEndedIsNoAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	well := fakeManager(t, func(http.ResponseWriter, *http.Request) {})
	d := asking(t, fakeManager(t, leaderless), well)
	err := d.ask(ctx, func(ctx context.Context, c *client.Client) error {
		if c.DaemonHost() != well {
			return errors.New("The swarm " + noLeader)
		}
		cancel()
		return ctx.Err()
	}, "ask")
	if !errors.Is(err, context.Canceled) || d.current.Load() != 0 {
		t.Errorf("error %v, and manager %d counts as the one that answered", err, d.current.Load())
	}
}
