package routing

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// A table must be effective within 10 ms. The comparison with a plain proxy only guards against a blunder.
const (
	mostApply = 10 * time.Millisecond
	mostCPU   = 1.4
)

// TestRouting is a measurement and runs only when asked for, alone on the machine:
//
//	RELEASE_BENCH=1 go test -v -run TestRouting ./test/bench/routing
func TestRouting(t *testing.T) {
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
	r, err := Measure(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("apply %+v, with 100 routes and 1,000 nodes %+v", r.Apply, r.Large)
	t.Logf("direct %+v, plain proxy %+v, router %+v", r.Direct, r.Plain, r.Router)
	if r.Apply.P99 > mostApply {
		t.Errorf("apply p99 %s, want at most %s", r.Apply.P99, mostApply)
	}
	if r.Large.P50 > mostLargeApply {
		t.Errorf("apply of 100 routes and 1,000 nodes p50 %s, want at most %s", r.Large.P50, mostLargeApply)
	}
	if float64(r.Router.CPU) > mostCPU*float64(r.Plain.CPU) || r.Router.Failed > 0 {
		t.Errorf("router %s CPU a request, plain proxy %s, %d failed", r.Router.CPU, r.Plain.CPU, r.Router.Failed)
	}
}

// The limits of the comparison with peers.
const (
	leastOverHAProxy = 0.8
	leastOverKamal   = 2.0
	mostP99          = 1.2
	mostLargeApply   = 5 * time.Millisecond
	leastBusy        = 0.95
	mostThousand     = 64 << 20
	mostIdle         = 12 << 10
	mostWebSocket    = 20 << 10
)

// kamalProxy is where RELEASE_BENCH_KAMAL_PROXY says, or on the PATH; "" is nowhere.
func kamalProxy() string {
	if path := os.Getenv("RELEASE_BENCH_KAMAL_PROXY"); path != "" {
		return path
	}
	path, _ := exec.LookPath("kamal-proxy")
	return path
}

// TestPeers is a measurement like TestRouting. It needs wrk, haproxy and kamal-proxy; without the last one it says what it can, and fails.
func TestPeers(t *testing.T) {
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
	r, err := MeasurePeers(t.Context(), PeerOptions{Dir: t.TempDir(), KamalProxy: kamalProxy()})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("direct %+v, router %+v, HAProxy %+v, with fewer fields %+v, kamal-proxy %+v", r.Direct, r.Router, r.HAProxy, r.Bare, r.KamalProxy)
	t.Logf("throughput over HAProxy's %.2f, with fewer fields %.2f, over kamal-proxy's %.2f", r.OverHAProxy, r.OverBare, r.OverKamalProxy)
	t.Logf("p99 over HAProxy's %.2f, with fewer fields %.2f", r.P99OverHAProxy, r.P99OverBare)
	if r.OverHAProxy < leastOverHAProxy || r.P99OverHAProxy > mostP99 {
		t.Errorf("HAProxy: want a throughput of at least %.2f of its, and a p99 of at most %.2f", leastOverHAProxy, mostP99)
	}
	switch {
	case r.KamalProxy.PerSecond == 0:
		t.Error("kamal-proxy was not compared with: " + GetKamalProxy)
	case r.OverKamalProxy < leastOverKamal:
		t.Errorf("kamal-proxy: want a throughput of at least %.2f of its", leastOverKamal)
	}
}

// heldSockets is how many idle WebSockets have to outlive a cutover.
const heldSockets = 10_000

// openFiles has this process, and those that it starts, open n files at a time, which only root may raise beyond the hard limit. It says how
// many they may.
func openFiles(t *testing.T, n uint64) uint64 {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	raised := syscall.Rlimit{Cur: max(limit.Cur, n), Max: max(limit.Max, n)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		t.Logf("raise the limit of open files from %d to %d: %v; type ulimit -Hn %d as root before, or run TestMemoryInAMachine", limit.Max, n, err, n)
		return limit.Max
	}
	return n
}

// TestMemory is a measurement like TestRouting.
func TestMemory(t *testing.T) {
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
	files := int(openFiles(t, 3*heldSockets)) // the router has two for each, and keeps a quarter of all for nodes
	m, err := MeasureMemory(t.Context(), t.TempDir(), 5000, min(heldSockets, files*3/8-100))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", m)
	if m.WebSockets != heldSockets || m.Lost > 0 {
		t.Errorf("%d WebSockets were held and %d of them lost, want %d and none; %d files may be open", m.WebSockets, m.Lost, heldSockets, files)
	}
	if m.Thousand > mostThousand || m.EachIdle > mostIdle || m.EachWebSocket > mostWebSocket {
		t.Error("a figure is over its limit")
	}
}

// TestUnderApplies is a measurement like TestRouting.
func TestUnderApplies(t *testing.T) {
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
	u, err := MeasureUnderApplies(t.Context(), t.TempDir(), 12, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", u)
	if u.Router < leastBusy || u.Applies < 90 {
		t.Error("a figure is over its limit")
	}
}

// TestMeasure checks that the measurement itself works.
func TestMeasure(t *testing.T) {
	r, err := Measure(t.Context(), Options{Dir: t.TempDir(), Applies: 10, Connections: 4, Duration: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Apply.P50 == 0 || r.Large.P50 == 0 || r.Direct.PerSecond == 0 || r.Plain.PerSecond == 0 || r.Router.PerSecond == 0 {
		t.Errorf("a figure is missing: %+v", r)
	}
}
