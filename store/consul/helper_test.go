package consul

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/store"
)

const holderVar = "RELEASE_TEST_HOLDER"

// TestMain is also the process that elections start several of.
func TestMain(m *testing.M) {
	if name := os.Getenv(holderVar); name != "" {
		if err := lead(name, os.Args[1], os.Args[2], os.Args[3]); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// lead is an agent that does nothing but lead: it takes the right, writes that it leads, and then writes on as long as it may,
// fenced by that record. It says what happens.
func lead(name, address, prefix, least string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ttl, err := time.ParseDuration(least)
	if err != nil {
		return err
	}
	s, err := Open(ctx, Options{Settings: consulapi.Settings{Address: address}, Prefix: prefix, Client: name, leastTTL: ttl})
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := s.Acquire(ctx, "leader", name, ttl)
	if err != nil {
		return err
	}
	record, err := s.Commit(ctx, store.Write{Key: "leader", Value: []byte(name), Any: true})
	if err != nil {
		return err
	}
	fmt.Println("leads", l.Epoch())
	for ctx.Err() == nil {
		_, err := s.Commit(ctx, store.Write{Key: "leader", IfVersion: record, Check: true}, store.Write{Key: "by/" + name, Value: []byte("x"), Any: true})
		if errors.Is(err, store.ErrConflict) {
			fmt.Println("fenced")
			<-l.Lost()
			fmt.Println("lost")
			return nil
		}
		_ = consulapi.Sleep(ctx, 20*time.Millisecond)
	}
	return l.Release(context.Background())
}

// holder is such a process.
type holder struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	lines chan string

	once sync.Once
}

func startHolder(t *testing.T, name, address, prefix, ttl string) *holder {
	t.Helper()
	h := &holder{t: t, name: name, lines: make(chan string, 100)}
	h.cmd = exec.Command(os.Args[0], address, prefix, ttl)
	h.cmd.Env = append(os.Environ(), holderVar+"="+name)
	h.cmd.Stderr = os.Stderr
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.kill)
	go func() {
		defer close(h.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			h.lines <- in.Text()
		}
	}()
	return h
}

func (h *holder) kill() { h.end(syscall.SIGKILL) }

func (h *holder) end(s syscall.Signal) {
	h.once.Do(func() {
		_ = h.cmd.Process.Signal(s)
		_ = h.cmd.Wait()
	})
}

func (h *holder) signal(s syscall.Signal) {
	h.t.Helper()
	if err := h.cmd.Process.Signal(s); err != nil {
		h.t.Fatal(err)
	}
}

// says waits for the next line, which must begin so.
func (h *holder) says(prefix string, within time.Duration) string {
	h.t.Helper()
	select {
	case line := <-h.lines:
		if !strings.HasPrefix(line, prefix) {
			h.t.Fatalf("%s says %q, want %q", h.name, line, prefix)
		}
		return line
	case <-time.After(within):
		h.t.Fatalf("%s did not say %q within %s", h.name, prefix, within)
	}
	return ""
}
