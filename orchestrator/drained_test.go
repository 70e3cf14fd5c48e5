package orchestrator

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/internal/fault"
)

func (r *hostsRig) drain(host string, undo bool) {
	r.t.Helper()
	if err := r.o.DrainHost(r.t.Context(), host, "ann", undo, false); err != nil {
		r.t.Fatal(err)
	}
}

// prepares is how often a host was given an image of a release.
func (r *hostsRig) prepares(host, release string) int {
	n := 0
	for _, c := range r.fakes[host].Calls() {
		if c.Method == fleettest.Prepare && c.Fleet.Release == release {
			n++
		}
	}
	return n
}

// Where all hosts are drained nothing is begun, and the answer says how to go on.
func TestNothingBeginsOnDrainedHosts(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 2, with("alpha", "beta"))
		r.drain("alpha", false)
		r.drain("beta", false)
		_, task := r.o.RunTask(t.Context(), TaskRequest{Key: shop, By: "ann", Command: exits("0")})
		_, launch := r.try(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, with("alpha", "beta"))})
		_, plan := r.o.Plan(t.Context(), Request{Kind: KindUp, Key: shop, Image: image(2), Config: shopConfig(2, with("alpha", "beta"))})
		for what, err := range map[string]error{"task": task, "launch": launch, "plan": plan} {
			if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "alpha is drained, beta is drained") || !strings.Contains(hintOf(err), "release host drain beta --undo") {
				t.Errorf("%s: %v, hint %q", what, err, hintOf(err))
			}
		}
		if s := r.state(); len(s.Tasks) != 0 || s.exclusive() != nil || len(s.Releases) != 1 {
			t.Errorf("%d tasks and %d releases are on record, and %v is under way", len(s.Tasks), len(s.Releases), s.exclusive())
		}
	})
}

// A job that is due says what it lacked.
func TestJobOnDrainedHosts(t *testing.T) {
	onHosts(t, []string{"alpha"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 1, with("alpha"), func(c *config.App) {
			c.Jobs = map[string]config.Job{"clean": {Cmd: exits("0"), Schedule: "* * * * *", Timeout: config.Duration(time.Hour), OnOverlap: config.OverlapSkip}}
		})
		r.drain("alpha", false)
		s := r.until("the job to have been due", func(s *State) bool { return s.job("clean") != nil && s.job("clean").Last != "" })
		if j := s.job("clean"); !strings.Contains(j.Failure, "alpha is drained") || len(s.Tasks) != 0 {
			t.Errorf("the job's last run: %+v", j)
		}
	})
}

// A task waits for a host that does not answer rather than boot on a drained one.
func TestTaskWaitsForAHostThatIsNotDrained(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 1, with("alpha", "beta"))
		r.drain("alpha", false)
		r.until("the host to be empty", func(s *State) bool { return len(r.runs("alpha", "")) == 0 && len(s.Operations) == 0 })
		r.fail("beta", false)
		r.until("the host to be away", func(*State) bool {
			hosts, err := r.o.Hosts(t.Context())
			return err == nil && !hosts[1].Away.IsZero()
		})
		task, err := r.o.RunTask(t.Context(), TaskRequest{Key: shop, By: "ann", Command: exits("0")})
		if err != nil {
			t.Fatal(err)
		}
		if host := task.Fleet.Nodes[0].Host; host != "beta" {
			t.Errorf("the task's node is to boot on %q", host)
		}
		time.Sleep(10 * time.Second)
		if r.prepares("alpha", "r1") != 1 || len(r.runs("alpha", "")) != 0 {
			t.Errorf("the drained host was given an image %d times, and runs %v", r.prepares("alpha", "r1"), r.runs("alpha", ""))
		}
		r.mend("beta")
		r.until("the task to end", func(s *State) bool { return len(s.Tasks) == 0 })
	})
}

// A host that is drained during a launch is given no image: the launch waits.
func TestDrainedDuringLaunch(t *testing.T) {
	onHosts(t, []string{"alpha"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 1, with("alpha"))
		r.fakes["alpha"].OnCall(func(_ context.Context, c fleettest.Call) error {
			if c.Method == fleettest.Prepare && c.Fleet.Release == "r2" {
				return errors.New("the disk is slow")
			}
			return nil
		})
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, with("alpha"))})
		r.until("a try", func(*State) bool { return r.prepares("alpha", "r2") > 0 })
		r.drain("alpha", false)
		r.fakes["alpha"].OnCall(nil)
		before := r.prepares("alpha", "r2")
		time.Sleep(time.Minute)
		if n := r.prepares("alpha", "r2"); n != before || len(r.runs("alpha", "r2")) != 0 {
			t.Errorf("the drained host was given the image %d times more, and runs %v", n-before, r.runs("alpha", "r2"))
		}
		r.drain("alpha", true)
		if op = r.wait(op); op.Failure != nil {
			t.Errorf("the launch failed: %s", op.Failure.Message)
		}
	})
}

// A drained host is no place to go to: what is on one that does not answer is not given up for it.
func TestDrainedHostIsNoPlaceToGoTo(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 2, with("alpha", "beta"))
		r.drain("alpha", false)
		r.until("the host to be empty", func(s *State) bool {
			return len(r.runs("alpha", "")) == 0 && len(s.serving().Nodes) == 2 && len(s.Operations) == 0
		})
		before := r.runs("beta", "")
		r.fail("beta", true)
		time.Sleep(5 * time.Minute)
		r.mend("beta")
		r.until("the nodes to serve again", func(s *State) bool { return s.serving().healthy() == 2 })
		if now := r.runs("beta", ""); !slices.Equal(before, now) {
			t.Errorf("the nodes were %v, are %v", before, now)
		}
	})
}

// What a fleet lacked is not said any more once it has it.
func TestHomelessFleetFindsAPlace(t *testing.T) {
	onHosts(t, []string{"alpha"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 1, with("alpha"))
		r.drain("alpha", false)
		op := r.submit(Request{Kind: KindScale, Size: 2})
		s := r.until("word that there is no place", func(s *State) bool { return s.serving().Reason != "" })
		if fl := s.serving(); !strings.Contains(fl.Reason, "alpha is drained") || !strings.Contains(fl.Hint, "--undo") {
			t.Errorf("the fleet says %q, hint %q", fl.Reason, fl.Hint)
		}
		r.drain("alpha", true)
		r.wait(op)
		if fl := r.state().serving(); fl.Reason != "" || fl.Hint != "" {
			t.Errorf("the fleet has its nodes, and says %q, hint %q", fl.Reason, fl.Hint)
		}
		if n := r.fakes["alpha"].All(); len(n) != 2 || n[0].Presence != fleet.Present {
			t.Errorf("the host has %v", n)
		}
	})
}
