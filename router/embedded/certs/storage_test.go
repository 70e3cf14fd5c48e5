package certs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/bootandshoot/release/test/tools/pebbletest"
)

// TestSharedStorage: the authority asks another router than the one that orders; then that one shows the certificate too.
func TestSharedStorage(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{true, false} {
		t.Run(fmt.Sprintf("plain %t", plain), func(t *testing.T) {
			t.Parallel()
			s := newIdleSite(t)
			o := pebbletest.Options{HTTPPort: closedPort(t), TLSPort: closedPort(t)}
			host := "shake.shared.example"
			if plain {
				o.HTTPPort, host = port(s.plain), "plain.shared.example"
			} else {
				o.TLSPort = port(s.listen)
			}
			ca := pebbletest.New(t, o)
			dir := t.TempDir()
			log, said := newLog(t)
			m := New(Options{Dir: dir, Log: log})
			t.Cleanup(m.Close)
			// The edge does not trust the authority's address, so that it is not the one that orders.
			other := filepath.Join(t.TempDir(), "root.pem")
			put(t, other, issue(t, nil, 1, later()).certPEM())
			startEdge(t, s, dir, ca.Directory, other, host)
			s.m.Store(m)
			ca.Start()
			use(t, m, s.route(ca, true, host))
			s.await(t, ca, within, host)
			if got := ca.Orders(); got > 2 || said.count(`msg="certificate obtained"`) != 1 { // the second is for the other challenge
				t.Errorf("%d orders, obtained here: %d", got, said.count(`msg="certificate obtained"`))
			}
		})
	}
}

// TestLockOfTheDead: a router that was killed while it obtained does not keep others from it.
func TestLockOfTheDead(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	idle, s, dir := newIdleSite(t), newSite(t), t.TempDir()
	ca := pebbletest.New(t, pebbletest.Options{HTTPPort: port(s.plain), TLSPort: port(s.listen)})
	ca.Start()
	edge := startEdge(t, idle, dir, "https://"+silent.Addr().String()+"/dir", ca.RootCA, "dead.example")
	lock := filepath.Join(dir, "locks", "issue_cert_dead.example.lock")
	eventually(t, within, "its lock", func() bool {
		b, err := os.ReadFile(lock)
		return err == nil && json.Valid(b)
	})
	if err := edge.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	use(t, s.start(t, Options{Dir: dir}), s.route(ca, true, "dead.example"))
	s.await(t, ca, within, "dead.example")
}

// moody is a storage that sometimes does not answer.
type moody struct {
	certmagic.FileStorage
	mood atomic.Int32
}

const (
	well    = iota
	failing // with an error at once
	hanging // until the caller gives up
)

func (s *moody) Load(ctx context.Context, key string) ([]byte, error) {
	switch s.mood.Load() {
	case failing:
		return nil, errors.New("the storage is away")
	case hanging:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.FileStorage.Load(ctx, key)
}

// TestStorageAway starts while the storage does not answer: what it has is shown when it is back, and nothing is ordered again.
func TestStorageAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := pebbletest.New(t, pebbletest.Options{HTTPPort: port(s.plain), TLSPort: port(s.listen)})
	ca.Start()
	storage := &moody{FileStorage: certmagic.FileStorage{Path: t.TempDir()}}
	r := s.route(ca, true, "storage.example")
	m := s.start(t, Options{Storage: storage})
	use(t, m, r)
	first := s.await(t, ca, within, "storage.example")
	m.Close()
	for mood, problem := range map[int32]string{failing: "the storage is away", hanging: "it is being obtained"} {
		storage.mood.Store(mood)
		m = s.start(t, Options{Storage: storage})
		began := time.Now()
		use(t, m, r)
		if took := time.Since(began); took > 5*loadWithin {
			t.Errorf("it took %v to apply", took)
		}
		eventually(t, within, "a problem", func() bool {
			got := m.Problems()[s.listen.Addr().String()]
			return strings.Contains(got, "no certificate for storage.example yet: ") && strings.Contains(got, problem)
		})
		if _, err := s.shown(ca.Roots(), "storage.example"); err == nil {
			t.Error("a certificate from nowhere")
		}
		if mood == hanging {
			m.Close() // and what hangs ends with it
			continue
		}
		storage.mood.Store(well)
		if c := s.await(t, ca, within, "storage.example"); c.SerialNumber.Cmp(first.SerialNumber) != 0 {
			t.Error("another certificate")
		}
		storage.mood.Store(failing)
		if _, err := s.shown(ca.Roots(), "storage.example"); err != nil {
			t.Errorf("with the storage away later: %v", err)
		}
	}
	if got := ca.Orders(); got != 1 {
		t.Errorf("%d orders", got)
	}
}
