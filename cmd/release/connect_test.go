package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded"
)

// An agent that hangs is no agent that is missing, and nobody waits for it without end.
func TestAgentThatHangs(t *testing.T) {
	dir, err := os.MkdirTemp("", "rel-") // short: socket paths are bounded
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // the kernel takes the connection; nobody reads it
	client := api.NewClient(socket)
	if _, err := ask(t.Context(), client, 20*time.Millisecond); !fault.Is(err, fault.Unavailable) || errors.Is(err, api.ErrNoAgent) {
		t.Errorf("%v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := ask(short, client, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's own time is over: %v", err)
	}
}

// So is a router that hangs.
func TestRouterThatHangs(t *testing.T) {
	dir, err := os.MkdirTemp("", "rel-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := askRouter(t.Context(), embedded.NewClient(dir), 20*time.Millisecond); !fault.Is(err, fault.Unavailable) || errors.Is(err, router.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}
