package consul

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/test/tools/consultest"
)

type atomicDuration struct{ v atomic.Int64 }

func (d *atomicDuration) load() time.Duration { return time.Duration(d.v.Load()) }

func (d *atomicDuration) add(by time.Duration) { d.v.Add(int64(by)) }

func TestAwayAtStart(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consultest.Options{})
	m := c.Servers[0]
	m.Kill()
	opts := Options{Settings: consulapi.Settings{Address: m.Address}, Prefix: "test/away/"}
	began := time.Now()
	_, err := Open(t.Context(), opts)
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != fault.Unavailable || !strings.Contains(f.Hint, "CONSUL_HTTP_ADDR") {
		t.Fatalf("open without Consul: %v", err)
	}
	if took := time.Since(began); took > 2*patience {
		t.Errorf("it took %s to say so", took)
	}
	m.Start()
	s, err := Open(t.Context(), opts) // waits for the election
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

// TestAwayForAWhile: calls fail in their time and with their class, a watch and an Acquire outlast it.
func TestAwayForAWhile(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consultest.Options{Config: quick})
	m := c.Servers[0]
	s := open(t, m, shortLived)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	version, err := s.Commit(ctx, store.Write{Key: "a", Value: []byte("1"), Any: true})
	if err != nil {
		t.Fatal(err)
	}
	changes, err := s.Watch(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	<-changes
	m.Kill()
	acquired := make(chan error, 1)
	go func() {
		_, err := s.Acquire(ctx, "leader", "me", time.Second)
		acquired <- err
	}()
	began := time.Now()
	for name, call := range map[string]func() error{
		"get": func() error { _, err := s.Get(ctx, "a"); return err },
		"commit": func() error {
			_, err := s.Commit(ctx, store.Write{Key: "a", IfVersion: version, Value: []byte("2")})
			return err
		},
		"watch": func() error { _, err := s.Watch(ctx, "a"); return err },
	} {
		if err := call(); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s without Consul: %v", name, err)
		}
	}
	if took := time.Since(began); took > 4*patience {
		t.Errorf("three calls took %s", took)
	}
	m.Start()
	c.Await()
	if e, err := s.Get(ctx, "a"); err != nil || e.Version != version {
		t.Errorf("after the restart: %+v, %v", e, err)
	}
	newer, err := s.Commit(ctx, store.Write{Key: "a", IfVersion: version, Value: []byte("3")})
	if err != nil || newer <= version {
		t.Fatalf("commit after the restart: version %d after %d, %v", newer, version, err)
	}
	for c := range changes {
		if c.Version == newer {
			break
		}
	}
	if err := <-acquired; err != nil {
		t.Errorf("acquire over an outage: %v", err)
	}
	if ctx.Err() != nil {
		t.Error("the watch saw nothing after the outage")
	}
}

// lossy passes requests on and loses the answers of some transactions: the connection breaks after Consul has done them.
func lossy(t *testing.T, address string, lose func() bool) *httptest.Server {
	t.Helper()
	target := &url.URL{Scheme: "http", Host: address}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(resp *http.Response) error {
		if resp.Request.URL.Path != "/v1/txn" || !lose() {
			return nil
		}
		_, err := io.Copy(io.Discard, resp.Body)
		return errors.Join(errors.New("lost"), err)
	}
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server
}

// TestLostAnswers: each commit is made once, whatever becomes of the answers.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consultest.Options{})
	var n atomic.Int64
	proxy := lossy(t, c.Servers[0].Address, func() bool { return n.Add(1)%3 != 0 })
	s := open(t, c.Servers[0], func(o *Options) { o.Settings.Address = proxy.URL })
	ctx := t.Context()
	const workers, each = 3, 6
	if _, err := s.Commit(ctx, store.Write{Key: "n", Value: []byte("0")}); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range each {
				// What is absent at first must not conflict with itself, and what is deleted must not be missed.
				key := fmt.Sprintf("once/%d/%d", w, i)
				version, err := s.Commit(ctx, store.Write{Key: key, Value: []byte("x")})
				if err == nil {
					_, err = s.Commit(ctx, store.Write{Key: key, IfVersion: version})
				}
				if err != nil {
					t.Error(err)
				}
				for done := false; !done; {
					e, err := s.Get(ctx, "n")
					if err != nil {
						t.Error(err)
						return
					}
					_, err = s.Commit(ctx, store.Write{Key: "n", Value: append(e.Value, '+'), IfVersion: e.Version})
					if done = err == nil; err != nil && !errors.Is(err, store.ErrConflict) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	group.Wait()
	if e, err := s.Get(ctx, "n"); err != nil || len(e.Value) != 1+workers*each {
		t.Errorf("%d commits left %q, %v", workers*each, e.Value, err)
	}
	l, err := s.Acquire(ctx, "leader", "me", time.Second)
	if err != nil || l.Epoch() != 1 {
		t.Fatalf("acquire: %v", err)
	}
	if err := l.Release(ctx); err != nil {
		t.Error(err)
	}
	if sessions, _, err := s.client.Session().List(nil); err != nil || len(sessions) != 0 {
		t.Errorf("sessions are left: %v, %v", sessions, err)
	}
}

// TestRestoredSnapshot: a version from after the snapshot is refused, a watch tells, and who leads by a session that the snapshot does
// not know loses the right.
func TestRestoredSnapshot(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consultest.Options{})
	s := open(t, c.Servers[0])
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	put := func(value string, version uint64) uint64 {
		v, err := s.Commit(ctx, store.Write{Key: "a", Value: []byte(value), IfVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	old := put("old", 0)
	snapshot, _, err := s.client.Snapshot().Save(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	later := put("later", old)
	l, err := s.Acquire(ctx, "leader", "me", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := s.Watch(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	<-changes
	if err := s.client.Snapshot().Restore(nil, snapshot); err != nil {
		t.Fatal(err)
	}
	lostWithin(t, l, 10*time.Second)
	if change := <-changes; change.Version != old {
		t.Errorf("the watch tells %d, want %d", change.Version, old)
	}
	if e, err := s.Get(ctx, "a"); err != nil || string(e.Value) != "old" || e.Version != old {
		t.Errorf("restored: %+v, %v", e, err)
	}
	if _, err := s.Commit(ctx, store.Write{Key: "a", Value: []byte("x"), IfVersion: later}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a commit on what was undone: %v", err)
	}
	if newest := put("new", old); newest <= later {
		t.Errorf("version %d is not after %d, which was used", newest, later)
	}
}

func TestLargeValues(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consultest.Options{})
	s := open(t, c.Servers[0])
	noise := make([]byte, 600<<10)
	_, _ = rand.Read(noise)
	_, err := s.Commit(t.Context(), store.Write{Key: "a", Value: noise})
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != fault.NoSpace || !strings.Contains(f.Hint, "txn_max_req_len") {
		t.Errorf("600 KiB that do not shrink: %v", err)
	}
	for name, value := range map[string][]byte{"noise": noise[:350<<10], "text": bytes.Repeat([]byte(`{"name":"shop-production-r8-k3f9q"}`), 100_000)} {
		if _, err := s.Commit(t.Context(), store.Write{Key: name, Value: value}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if e, err := s.Get(t.Context(), name); err != nil || !bytes.Equal(e.Value, value) {
			t.Errorf("%s came back with %d bytes, %v", name, len(e.Value), err)
		}
	}
}

// TestAccess: a token without the policy is refused with what it lacks, and one that has it passes; nobody sees the token.
func TestAccess(t *testing.T) {
	t.Parallel()
	const root = "5c1ad6e4-0000-4000-8000-1234567890ab"
	c := consultest.Start(t, consultest.Options{Token: root, Config: `acl { enabled = true  default_policy = "deny"  tokens { initial_management = "` + root + `" } }`})
	admin := open(t, c.Servers[0], func(o *Options) { o.Settings.Token = root })
	token := func(rules string) string {
		t.Helper()
		policy, _, err := admin.client.ACL().PolicyCreate(aclPolicy(rules), nil)
		if err != nil {
			t.Fatal(err)
		}
		made, _, err := admin.client.ACL().TokenCreate(aclToken(policy.ID), nil)
		if err != nil {
			t.Fatal(err)
		}
		return made.SecretID
	}
	var log bytes.Buffer
	with := func(token string) Options {
		return Options{Settings: consulapi.Settings{Address: c.Servers[0].Address, Token: token}, Prefix: "ours/", Log: slog.New(slog.NewTextHandler(&log, nil))}
	}
	readOnly := token(`key_prefix "ours/" { policy = "read" }`)
	for name, refused := range map[string]string{"none": "", "unknown": "5c1ad6e4-0000-4000-8000-ffffffffffff", "read only": readOnly, "elsewhere": token(consulapi.Policy("theirs/"))} {
		_, err := Open(t.Context(), with(refused))
		var f *fault.Error
		if !errors.As(err, &f) || f.Code != fault.Denied || !strings.Contains(f.Hint, `key_prefix "ours/" { policy = "write" }`) {
			t.Errorf("%s: %v", name, err)
		}
		if refused != "" && (strings.Contains(fmt.Sprintf("%v %+v", err, f), refused) || strings.Contains(log.String(), refused)) {
			t.Errorf("%s: the error or the log shows the token", name)
		}
	}
	s, err := Open(t.Context(), with(token(consulapi.Policy("ours/"))))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Commit(t.Context(), store.Write{Key: "a", Value: []byte("1")}); err != nil {
		t.Error(err)
	}
	if l, err := s.Acquire(t.Context(), "leader", "me", time.Second); err != nil || l.Release(t.Context()) != nil {
		t.Errorf("acquire: %v", err)
	}
	// A token that may read and not lead says so at once instead of waiting.
	if _, err := admin.Commit(t.Context(), store.Write{Key: "x", Any: true, Value: []byte("x")}); err != nil {
		t.Error(err)
	}
	reader, err := Open(t.Context(), with(readOnly))
	if err != nil {
		t.Fatal(err) // the store is there by now
	}
	defer reader.Close()
	if _, err := reader.Acquire(t.Context(), "leader", "me", time.Second); !fault.Is(err, fault.Denied) {
		t.Errorf("acquire with a token that may read: %v", err)
	}
}
