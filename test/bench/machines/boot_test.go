package machines

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/fleet/qemu"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/machine"
	"github.com/bootandshoot/release/test/harness"
)

const (
	mostDirect  = 3 * time.Second  // from the order to the first healthy answer, our own first program
	mostSystemd = 12 * time.Second // the same with systemd
	together    = 8                // machines that are launched at once: not slower than one after the other
	boots       = 7
	fewBoots    = 3 // of what takes longer
	patience    = 3 * time.Minute
)

const systemdRecipe = `name: hello
base: {debian: bookworm}
packages: [systemd, udev, dbus]
copy: [{from: ./bin/hello, to: /hello}]
ports: [8080]
services: {web: {cmd: [/hello]}}
`

// TestMachineBoot is a measurement and runs only when asked for, alone on the machine:
//
//	RELEASE_BENCH=1 go test -count=1 -v -run TestMachineBoot ./test/bench/machines
//
// Each of its parts can be run alone: TestMachineBoot/one, …/together, …/systemd.
func TestMachineBoot(t *testing.T) {
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
	suite := harness.NewSuite()
	t.Cleanup(suite.Close) // after the installation has ended
	in := suite.New(t, "qemu")
	accelerator, why, err := machine.Accelerate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("accelerator: %s %s", accelerator, why)
	b := newBench(t, in)
	one := 0.0
	direct := sync.OnceValue(func() string { return in.Bake("v1") })
	t.Run("one", func(t *testing.T) {
		one = b.median(t, boots, direct(), 1)
		t.Logf("one machine, to its first healthy answer: %.2f s (median of %d)", one, boots)
		if one > mostDirect.Seconds() {
			t.Errorf("want at most %s", mostDirect)
		}
	})
	t.Run("together", func(t *testing.T) {
		all := b.median(t, fewBoots, direct(), together)
		t.Logf("%d machines at once, to the last one's: %.2f s (median of %d)", together, all, fewBoots)
		if one > 0 && all > together*one {
			t.Errorf("want at most %.2f s, which is one after the other", together*one)
		}
	})
	t.Run("systemd", func(t *testing.T) {
		in.Write("recipe.yaml", systemdRecipe)
		took := b.median(t, fewBoots, in.Bake("v1"), 1)
		t.Logf("with systemd: %.2f s (median of %d)", took, fewBoots)
		if took > mostSystemd.Seconds() {
			t.Errorf("want at most %s", mostSystemd)
		}
	})
}

type bench struct {
	driver *qemu.Driver
	round  int
}

func newBench(t *testing.T, in *harness.Installation) *bench {
	t.Helper()
	store, err := images.Open(filepath.Join(in.Dir, "i"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := qemu.New(t.Context(), qemu.Options{Dir: filepath.Join(in.Dir, "q"), Installation: "bench", Images: store,
		Ports: local.Ports{First: 21_000, Count: 100}, Boots: together})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{driver: d}
}

// median is how long machines of an image take until all have answered.
func (b *bench) median(t *testing.T, rounds int, image string, machines int) float64 {
	t.Helper()
	var list []float64
	for range rounds {
		list = append(list, b.launch(t, image, machines).Seconds())
	}
	return median(list)
}

func (b *bench) launch(t *testing.T, image string, machines int) time.Duration {
	t.Helper()
	b.round++
	spec := fleet.Spec{Fleet: fleet.FleetID{App: "bench", Env: "test", Role: "web", Release: "r1", Incarnation: b.round}, Installation: "bench",
		Kind: fleet.Serve, Image: image, Port: 8080}
	for i := range machines {
		spec.Nodes = append(spec.Nodes, fleet.NodeSpec{Name: fmt.Sprintf("bench-%d-%d", b.round, i), Slot: i})
	}
	if err := b.driver.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.driver.Destroy(context.WithoutCancel(t.Context()), spec.Fleet); err != nil {
			t.Error(err)
		}
	}()
	began := time.Now()
	nodes, err := b.driver.Ensure(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		b.answer(t, "http://"+n.Address+"/healthz", began.Add(patience))
	}
	return time.Since(began)
}

// answer asks until the machine is healthy. QEMU takes connections in its place: a question may wait for long, so another one is asked soon.
func (b *bench) answer(t *testing.T, url string, until time.Time) {
	t.Helper()
	client := http.Client{Timeout: 250 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		res, err := client.Get(url)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(until) {
			t.Fatalf("no answer: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
