package routing

import (
	"os"
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
	if float64(r.Router.CPU) > mostCPU*float64(r.Plain.CPU) || r.Router.Failed > 0 {
		t.Errorf("router %s CPU a request, plain proxy %s, %d failed", r.Router.CPU, r.Plain.CPU, r.Router.Failed)
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
