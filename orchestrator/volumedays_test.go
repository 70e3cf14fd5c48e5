package orchestrator

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/internal/fault"
)

// checkWriters: of each role that has a volume with one writer at most one node runs, the one that the state says has it, and no
// driver was ever asked for a second one.
func (r *rig) checkWriters() {
	r.t.Helper()
	r.untouched()
	running := map[fleet.VolumeID][]string{}
	for _, n := range r.driver.All() {
		spec, known := r.driver.SpecOf(n.ID.Node)
		for _, v := range spec.Volumes {
			if known && n.Presence == fleet.Present && v.OneWriter {
				running[v.Volume] = append(running[v.Volume], n.ID.Node)
			}
		}
	}
	s := r.state()
	for id, names := range running {
		if v := s.volume(id.Role + "/" + id.Name); v == nil || len(names) > 1 || v.Node != names[0] {
			r.t.Errorf("%v run with %s, whose record is %+v", names, id, v)
		}
	}
}

// volumeDays plays random days of an app whose roles have volumes.
type volumeDays struct {
	*rig
	rand   *rand.Rand
	images int
	trace  []string
}

func TestDaysOfVolumes(t *testing.T) {
	seeds := 1
	if os.Getenv("RELEASE_SIMULATE") != "" {
		seeds = 8
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			inRig(t, func(t *testing.T, r *rig) {
				d := &volumeDays{rig: r, rand: rand.New(rand.NewPCG(uint64(seed), 23))}
				d.play()
			})
		})
	}
}

func (d *volumeDays) play() {
	d.wait(d.submit(d.release()))
	for range 30 {
		d.move()
		for range d.rand.IntN(12) {
			time.Sleep(250 * time.Millisecond)
			d.checkWriters()
		}
		if d.t.Failed() {
			d.t.Fatalf("trace:\n%s\n%s", strings.Join(d.trace, "\n"), d.describe())
		}
	}
	d.mu.Lock()
	clear(d.sick)
	d.mu.Unlock()
	d.until("the end of what is under way", func(s *State) bool { return s.exclusive() == nil })
	if op := d.wait(d.submit(d.release())); op.Failure != nil {
		d.t.Errorf("the last up failed: %s", op.Failure.Message)
	}
	d.until("rest", func(s *State) bool {
		serving := s.serving()
		return len(s.Operations) == 0 && serving != nil && len(s.Fleets) == len(s.release(serving.ID.Release).Config.RoleNames()) &&
			!slices.ContainsFunc(s.Fleets, func(fl *Fleet) bool {
				return fl.healthy() != s.size(fl) || len(fl.Nodes) != s.size(fl) || s.size(fl) == 0
			})
	})
	d.checkWriters()
}

func (d *volumeDays) release() Request {
	d.images++
	return Request{Kind: KindUp, Image: image(d.images), Images: map[string]string{"db": image(500)},
		Config: shopConfig(2, shortWarm, withRoles(database(fmt.Sprint(d.images/3)), ownVolume("db"), ownVolume("api"), ownVolume("worker")))}
}

func shortWarm(c *config.App) {
	c.Cutover.KeepPrevious = config.Duration(30 * time.Second)
	c.Cutover.Drain.LongConnections = config.Duration(40 * time.Second)
	c.Hooks = config.Hooks{AfterLaunch: aHook("al"), BeforeStep: aHook("bs"), BeforeShoot: aHook("shoot"), OnAbort: aHook("abort")}
	c.Jobs = map[string]config.Job{"job": {Cmd: exits("0"), Schedule: "* * * * *", Timeout: config.Duration(time.Hour), OnOverlap: config.OverlapSkip}}
	sticky(20 * time.Second)(c)
}

// during breaks the driver for a while.
func (d *volumeDays) during(m fleettest.Method) {
	d.driver.Fail(m, fleet.ErrUnavailable)
	time.Sleep(time.Duration(d.rand.IntN(20)) * time.Second)
	d.checkWriters()
	d.driver.Fail(m, nil)
}

func (d *volumeDays) move() {
	nodes := d.running("")
	n := d.rand.IntN(14)
	d.trace = append(d.trace, fmt.Sprint(time.Now().Format("15:04:05.000"), " move ", n))
	switch {
	case n == 0 && len(nodes) > 0:
		d.driver.Kill(nodes[d.rand.IntN(len(nodes))], fleet.Exit{Code: 137, Signal: "KILL"})
	case n == 1 && len(nodes) > 0:
		d.setSick(nodes[d.rand.IntN(len(nodes))], true)
	case n == 2 || n == 3:
		d.stop()
		d.driver = d.driver.Reopen("")
		d.start()
	case n == 4:
		d.during(fleettest.Ensure)
	case n == 5:
		d.during(fleettest.Remove)
	case n == 6:
		release := d.driver.Hang(fleettest.Ensure)
		time.Sleep(time.Duration(d.rand.IntN(90)) * time.Second)
		release()
	case n == 7:
		d.driver.Reboot()
	case n == 8:
		d.ask(Request{Kind: KindRollback})
	case n == 9:
		d.ask(Request{Kind: KindCutover})
	case n == 10 && len(nodes) > 0:
		d.ask(Request{Kind: KindReplace, Nodes: nodes[:1]})
	case n == 11:
		req := d.release()
		req.Kind = KindLaunch
		d.ask(req)
	default:
		if d.rand.IntN(3) == 0 {
			d.setSick(image(d.images+1), true)
		}
		d.ask(d.release())
	}
}

func (d *volumeDays) ask(req Request) {
	op, err := d.try(req)
	d.trace = append(d.trace, fmt.Sprintf("%s: %s %v", req.Kind, op.ID, err))
	if err != nil && !fault.Is(err, fault.Busy) && !fault.Is(err, fault.NotFound) {
		d.t.Errorf("%s: %v", req.Kind, err)
	}
}
