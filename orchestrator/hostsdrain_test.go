package orchestrator

import (
	"slices"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

func TestDrainedHost(t *testing.T) {
	onHosts(t, []string{"alpha", "beta", "gamma"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 3, with("alpha", "beta", "gamma"))
		if err := r.o.DrainHost(t.Context(), "delta", "ann", false, false); !fault.Is(err, fault.NotFound) {
			t.Errorf("drained a host that is not there: %v", err)
		}
		if err := r.o.DrainHost(t.Context(), "beta", "ann", false, false); err != nil {
			t.Fatal(err)
		}
		least := 3
		r.until("the host to be empty", func(s *State) bool {
			least = min(least, s.serving().healthy())
			return len(r.fakes["beta"].All()) == 0 && len(s.Operations) == 0
		})
		if least < 3 {
			t.Errorf("%d nodes were healthy at times", least)
		}
		r.stop()
		r.start() // the next agent knows
		r.up(2, 3, with("alpha", "beta", "gamma"))
		r.spreads("r2", map[string]int{"beta": 0})
		hosts, err := r.o.Hosts(t.Context())
		if err != nil || len(hosts) != 3 || !hosts[1].Drained || hosts[1].By != "ann" || len(hosts[0].Nodes) == 0 {
			t.Errorf("hosts are %+v, %v", hosts, err)
		}
		if err := r.o.DrainHost(t.Context(), "beta", "ann", true, false); err != nil {
			t.Fatal(err)
		}
		r.up(3, 3, with("alpha", "beta", "gamma"))
		r.spreads("r3", map[string]int{"alpha": 1, "beta": 1, "gamma": 1})
	})
}

// A fleet whose only host is drained stays where it is, and says so where it needs more.
func TestDrainedWithoutAnother(t *testing.T) {
	onHosts(t, []string{"alpha"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 2, with("alpha"))
		before := r.runs("alpha", "")
		if err := r.o.DrainHost(t.Context(), "alpha", "ann", false, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if now := r.runs("alpha", ""); !slices.Equal(before, now) {
			t.Errorf("the nodes were %v, are %v", before, now)
		}
		if err := r.o.DrainHost(t.Context(), "alpha", "ann", true, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if now := r.runs("alpha", ""); !slices.Equal(before, now) {
			t.Errorf("after the drain was taken back the nodes were %v, are %v", before, now)
		}
	})
}

func TestForgottenHost(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 2, with("alpha", "beta"))
		if err := r.o.ForgetHost(t.Context(), "beta", false); !fault.Is(err, fault.Denied) {
			t.Errorf("forgot a host that serves: %v", err)
		}
		r.fail("beta", true)
		time.Sleep(10 * time.Second)
		for _, try := range []bool{true, false} { // what is tried is not done: it is there the second time
			if err := r.o.ForgetHost(t.Context(), "beta", try); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		r.until("two healthy nodes", func(s *State) bool { return s.serving().healthy() == 2 && len(s.serving().Nodes) == 2 })
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("made up for after %s", took)
		}
		r.mend("beta")
		r.up(2, 2, with("alpha", "beta")) // a release that names it brings it back
		r.spreads("r2", map[string]int{"alpha": 1, "beta": 1})
		r.until("what was left there to be removed", func(*State) bool { return len(r.runs("beta", "r1")) == 0 })
	})
}
