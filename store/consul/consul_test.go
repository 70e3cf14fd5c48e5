package consul

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/store/storetest"
	"github.com/bootandshoot/release/test/tools/consultest"
)

// quick lets sessions live shorter than Consul's servers allow by default, so that tests need not wait for long.
const quick = `session_ttl_min = "1s"`

var prefixes atomic.Int64

// open opens a store of its own on a member.
func open(t *testing.T, m *consultest.Member, change ...func(*Options)) *Store {
	t.Helper()
	opts := Options{Settings: consulapi.Settings{Address: m.Address}, Prefix: fmt.Sprintf("test/%d/", prefixes.Add(1))}
	for _, c := range change {
		c(&opts)
	}
	s, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// at opens the same store as another agent does.
func at(prefix string) func(*Options) { return func(o *Options) { o.Prefix = prefix } }

func shortLived(o *Options) { o.leastTTL = time.Second }

func TestConformance(t *testing.T) {
	c := consultest.Start(t, consultest.Options{})
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, c.Servers[0]) })
}

// TestConformanceWhileServersDie passes the suite while one server of three after the other is killed and comes back.
func TestConformanceWhileServersDie(t *testing.T) {
	c := consultest.Start(t, consultest.Options{Servers: 3})
	client := c.Client()
	stop, done := make(chan struct{}), make(chan struct{})
	var kills int
	go func() {
		defer close(done)
		for {
			leader := c.Leader()
			leader.Kill()
			kills++
			select {
			case <-stop:
				return
			case <-time.After(time.Second): // it stays away for so long
			}
			leader.Start()
			c.Await()
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Second): // and the cluster is whole for so long
			}
		}
	}()
	for range 3 {
		storetest.Run(t, func(t *testing.T) store.Store { return open(t, client) })
	}
	close(stop)
	<-done
	t.Logf("%d leaders were killed", kills)
	if kills < 2 {
		t.Error("the suite saw no election")
	}
}

func TestLayout(t *testing.T) {
	c := consultest.Start(t, consultest.Options{})
	s := open(t, c.Servers[0])
	long := strings.Repeat(`{"a":"long","value":"that repeats"}`, 100)
	if _, err := s.Commit(t.Context(), store.Write{Key: "apps/shop", Value: []byte("{}")}, store.Write{Key: "long", Value: []byte(long)}); err != nil {
		t.Fatal(err)
	}
	l, err := s.Acquire(t.Context(), "leader", "alpha", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	pairs, _, err := s.client.KV().List(s.opts.Prefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, pair := range pairs {
		values[strings.TrimPrefix(pair.Key, s.opts.Prefix)] = string(pair.Value)
	}
	mark := "commits/" + s.opts.Client + "/0"
	commit := strings.Fields(values[mark])[1]
	want := map[string]string{"schema": "1", mark: "1 " + commit + " plain\n", "kv/apps/shop": "1 " + commit + " plain\n{}",
		"leases/leader": `{"holder":"alpha","client":"` + s.opts.Client + `"}`, "epochs/leader": `{"epoch":1,"holder":"alpha"}`}
	for name, value := range want {
		if values[name] != value {
			t.Errorf("%s holds %q, want %q", name, values[name], value)
		}
	}
	if packed := values["kv/long"]; !strings.HasPrefix(packed, "1 "+commit+" zstd\n") || len(packed) > 300 {
		t.Errorf("a long value takes %d bytes: %.60q", len(packed), packed)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sessions, _, err := s.client.Session().List(nil); err != nil || len(sessions) != 0 {
		t.Errorf("sessions are left: %v, %v", sessions, err)
	}
}
