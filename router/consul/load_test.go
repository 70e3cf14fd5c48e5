package consul

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/test/tools/consultest"
)

// One of three servers of Consul, the leader, is killed in the middle of twenty cutovers under load: nobody loses a request, and
// each cutover that Apply told of is what both edges serve.
func TestCutoversWhileAServerDies(t *testing.T) {
	cluster := consultest.Start(t, consultest.Options{Servers: 3})
	member := cluster.Client() // as each machine has one: it goes to whatever server lives
	b := newBackend(t, member.Address, "")
	way := newRelay(t, member.Address)
	first, second := startEdge(t, way.Address, DefaultPrefix, false), startEdge(t, way.Address, DefaultPrefix, true)
	awaitLive(t, b, first, second)
	nodes := []*routertest.TestNode{routertest.StartNode(t, "a", nil), routertest.StartNode(t, "b", nil)}
	listen := routertest.FreeListen(t)
	table := func(seq int) router.Table {
		return routertest.TableOf(uint64(seq), routertest.RouteTo(listen, routertest.FleetOf(1+seq%2, 100, nodes[seq%2])))
	}
	mustApply(t, b, table(1))

	stop := make(chan struct{})
	var load sync.WaitGroup
	var sent, lost atomic.Int64
	for range 8 {
		load.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
			for {
				select {
				case <-stop:
					return
				default:
				}
				sent.Add(1)
				res, err := client.Get("http://" + listen + "/")
				if err == nil {
					_ = res.Body.Close()
				}
				if err != nil || res.StatusCode != http.StatusOK {
					lost.Add(1)
					t.Errorf("lost: %v %v", res, err)
				}
			}
		})
	}
	var slowest time.Duration
	for seq := 2; seq <= 21; seq++ {
		if seq == 11 {
			cluster.Leader().Kill()
		}
		began := time.Now()
		mustApply(t, b, table(seq))
		slowest = max(slowest, time.Since(began))
		if first.version().Seq != uint64(seq) || second.version().Seq != uint64(seq) {
			t.Errorf("cutover %d: the edges serve %s and %s", seq, first.version(), second.version())
		}
		before := nodes[(seq+1)%2].Seen.Load()
		if got := get(t, listen); got != nodes[seq%2].Name {
			t.Errorf("cutover %d: %s answers", seq, got)
		}
		time.Sleep(20 * time.Millisecond) // load on the new table; what the old node gets then was under way, at most one a client
		if late := nodes[(seq+1)%2].Seen.Load() - before; late > 8 {
			t.Errorf("cutover %d: the old node got %d requests after it", seq, late)
		}
	}
	close(stop)
	load.Wait()
	t.Logf("%d requests, %d lost; slowest cutover %s", sent.Load(), lost.Load(), slowest)
}
