package consul

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/test/tools/consultest"
)

func TestPulses(t *testing.T) {
	var p pulses
	now := time.Unix(1000, 0)
	read := func(after time.Duration, index ...uint64) {
		now = now.Add(after)
		pairs := api.KVPairs{}
		for i, n := range index {
			pairs = append(pairs, &api.KVPair{Key: string(rune('a' + i)), ModifyIndex: n})
		}
		p.take(pairs, now)
	}
	read(0, 1, 1)
	for n := uint64(2); n <= 20; n++ { // a is still, b writes
		read(250*time.Millisecond, 1, n)
	}
	if p.stopped("a", beat) || p.stopped("b", beat) {
		t.Error("silent before its time")
	}
	read(time.Hour, 1, 20) // Consul was away: that hour says nothing of either
	if !p.stopped("a", beat) {
		t.Error("an edge that did not write for five beats lives")
	}
	if p.stopped("b", beat) {
		t.Error("an edge is silent for what Consul did")
	}
	if p.stopped("a", 0) {
		t.Error("an edge that does not say how often it writes is held for silent by it")
	}
	read(0, 2, 20)
	if p.stopped("a", beat) {
		t.Error("an edge that writes again is silent")
	}
	read(0, 2)
	read(time.Second, 2, 20)
	if p.stopped("b", beat) || p.stopped("unknown", beat) {
		t.Error("an edge that is new is silent")
	}
}

// An edge that hangs is silent some seconds later, though its session lasts; one that is registered and does not live is nobody
// to serve a table; and without any there is nothing to wait for.
func TestNobodyLives(t *testing.T) {
	c := consultest.Start(t, consultest.Options{})
	b := newBackend(t, c.Servers[0].Address, "")
	listen := routertest.FreeListen(t)
	mustApply(t, b, quiet(t, 1, listen, 1)) // whoever comes gets it
	e := startEdge(t, c.Servers[0].Address, DefaultPrefix, false)
	awaitLive(t, b, e)
	mustApply(t, b, quiet(t, 2, listen, 2))
	e.kill()
	awaitSilent(t, b, e)
	pair, _, err := b.client.KV().Get(b.edgeKey(e.id()), nil)
	if err != nil || pair == nil {
		t.Fatalf("the edge's record: %v", err)
	}
	if pair.Session == "" {
		t.Log("this machine is slow: the session was over before")
	}
	err = applyWithin(b, quiet(t, 3, listen, 3), 20*time.Second)
	if !errors.Is(err, router.ErrUnavailable) || !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), e.id()) {
		t.Errorf("applied to an edge that is silent: %v", err)
	}
	if err := b.Precheck(t.Context(), quiet(t, 4, listen, 1).Routes[0]); err != nil {
		t.Errorf("precheck when nobody can tell: %v", err)
	}
	if err := b.Forget(t.Context(), e.id()); err != nil {
		t.Errorf("forget an edge that is silent: %v", err)
	}
	mustApply(t, b, quiet(t, 4, listen, 4))
	e.start()
	awaitLive(t, b, e)
	routertest.Eventually(t, "it serves the newest table", func() bool { return e.version().Seq == 4 })
}
