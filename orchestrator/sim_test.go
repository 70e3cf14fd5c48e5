package orchestrator

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/router"
)

// TestSimulation plays random days of operation with faults at every turn, and checks what must hold always. A failing seed is
// printed; it plays the same way again.
func TestSimulation(t *testing.T) {
	seeds := 12
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				(&simulation{rig: r, t: t, rand: rand.New(rand.NewPCG(uint64(seed), 7)), roles: []string{Role}}).play()
			})
		})
	}
}

// TestSimulationOfRoles is that with an app of two routed roles, a worker and a database.
func TestSimulationOfRoles(t *testing.T) {
	seeds := 4
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				(&simulation{rig: r, t: t, rand: rand.New(rand.NewPCG(uint64(seed), 11)), roles: []string{"web", "api", "worker", "db"}}).play()
			})
		})
	}
}

type simulation struct {
	*rig
	t      *testing.T
	rand   *rand.Rand
	trace  []string
	images int
	roles  []string
	long   map[string]string // nodes with long connections, and their fleets
	tasks  []Task
}

func (s *simulation) play() {
	s.long = map[string]string{}
	s.router.Deafen(s.rand.IntN(2) == 0)
	s.router.OnApply(s.checkClosing)
	s.watchShots()
	s.hooks.answer(s.unreliable())
	s.note("up 1")
	s.images = 1
	s.wait(s.submit(s.release()))
	for range 40 {
		s.move()
		time.Sleep(time.Duration(s.rand.IntN(3000)) * time.Millisecond)
		s.checkSplit()
		if s.t.Failed() {
			s.t.Fatalf("trace:\n%s\n%s", strings.Join(s.trace, "\n"), s.describe())
		}
	}
	s.heal()
}

func (s *simulation) note(format string, args ...any) {
	s.trace = append(s.trace, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// checkClosing: what still is in the table keeps its connections.
func (s *simulation) checkClosing(table router.Table) {
	for _, route := range table.Routes {
		for _, fl := range route.Fleets {
			for _, n := range fl.Nodes {
				if slices.ContainsFunc(table.Closing, func(c router.Closing) bool { return c.Node == n.Name }) {
					s.t.Errorf("table %s has %s and closes its connections", table.Version, n.Name)
				}
			}
		}
	}
}

// hold opens or ends long connections on a node. A node that is in no table gets none.
func (s *simulation) hold(name string, n int) {
	table, err := s.router.Applied(context.Background())
	if err != nil {
		return
	}
	for _, route := range table.Routes {
		for _, fl := range route.Fleets {
			if slices.ContainsFunc(fl.Nodes, func(node router.Node) bool { return node.Name == name }) {
				s.note("%d long connections on %s", n, name)
				s.router.SetLong(fl.ID, name, n)
				s.long[name] = fl.ID
			}
		}
	}
}

// broken ends the connections to nodes that are gone.
func (s *simulation) broken(names ...string) {
	for _, name := range names {
		if id, ok := s.long[name]; ok {
			s.router.SetLong(id, name, 0)
		}
	}
}

// longAt is how many long connections the router has to any of the nodes.
func (s *simulation) longAt(names []string) int {
	obs, err := s.router.Observe(context.Background())
	if err != nil {
		return 0
	}
	sum := 0
	for _, n := range obs.Edges[0].Nodes {
		if slices.Contains(names, n.Node) {
			sum += n.Long
		}
	}
	return sum
}

// watchShots makes the driver refuse to lose a node that the router still has, or that has long connections which nobody
// asked to end.
func (s *simulation) watchShots() {
	s.driver.OnCall(func(_ context.Context, c fleettest.Call) error {
		if c.Method != fleettest.Remove && c.Method != fleettest.Destroy {
			return nil
		}
		table, err := s.router.Applied(context.Background())
		if err != nil {
			return nil
		}
		asked := slices.ContainsFunc(table.Closing, func(cl router.Closing) bool { return slices.Contains(c.Names, cl.Node) })
		if n := s.longAt(c.Names); n > 0 && !asked {
			s.t.Errorf("%s of %v with %d long connections", c.Method, c.Names, n)
		}
		for _, route := range table.Routes {
			for _, fl := range route.Fleets {
				for _, n := range fl.Nodes {
					if slices.Contains(c.Names, n.Name) || c.Method == fleettest.Destroy && fl.ID == c.Fleet.String() {
						s.t.Errorf("%s of %v while the router has %s", c.Method, c.Names, n.Name)
					}
				}
			}
		}
		return nil
	})
}

// move does one random thing to the installation or to the world around it.
func (s *simulation) move() {
	nodes := s.running("")
	pick := func() string { return nodes[s.rand.IntN(len(nodes))] }
	switch n := s.rand.IntN(18); {
	case n == 0 && len(nodes) > 0:
		name := pick()
		s.note("kill %s", name)
		s.driver.Kill(name, fleet.Exit{Code: 137, Signal: "KILL"})
		s.broken(name)
	case n == 1 && len(nodes) > 0:
		name := pick()
		s.note("sick %s", name)
		s.setSick(name, true)
	case n == 2:
		s.note("the agent dies")
		s.stop()
		s.driver = s.driver.Reopen("")
		s.watchShots()
		s.start()
	case n == 3:
		s.note("the driver fails")
		s.driver.FailAll(fleet.ErrUnavailable)
		time.Sleep(time.Duration(s.rand.IntN(4000)) * time.Millisecond)
		s.driver.FailAll(nil)
	case n == 4:
		s.note("the router fails")
		s.router.FailApply(context.DeadlineExceeded)
		time.Sleep(time.Duration(s.rand.IntN(4000)) * time.Millisecond)
		s.router.FailApply(nil)
	case n == 5:
		s.note("the host reboots")
		s.driver.Reboot()
		s.broken(slices.Collect(maps.Keys(s.long))...)
	case n == 6:
		s.ask(Request{Kind: KindScale, Size: 1 + s.rand.IntN(5), Role: s.roles[s.rand.IntN(min(len(s.roles), 3))]})
	case n == 7:
		s.ask(Request{Kind: KindRollback})
	case n == 8:
		s.ask(Request{Kind: KindCutover, Percent: 1 + s.rand.IntN(100)})
	case n == 9 && len(nodes) > 0:
		s.ask(Request{Kind: KindReplace, Nodes: []string{pick()}})
	case n == 10 && len(nodes) > 0:
		s.hold(pick(), 1+s.rand.IntN(50))
	case n == 11 && len(nodes) > 0:
		s.hold(pick(), 0)
	case n == 13 && len(nodes) > 0:
		s.ask(Request{Kind: KindQuarantine, Nodes: []string{pick()}, For: time.Duration(1+s.rand.IntN(120)) * time.Second, End: s.rand.IntN(4) == 0})
	case n == 14 || n == 15:
		s.runTask(n == 14)
	case n == 12:
		s.note("the router dies")
		s.router.Restart()
	default:
		s.images++
		if s.rand.IntN(4) == 0 {
			s.setSick(image(s.images), true)
		}
		s.ask(s.release())
	}
}

// release is an up with the newest image. In an app with roles it changes the database now and then, or has none.
func (s *simulation) release() Request {
	if len(s.roles) == 1 {
		return Request{Kind: KindUp, Image: image(s.images), Config: shopConfig(3, shortWarm)}
	}
	change := []func(map[string]config.Role){database(fmt.Sprint(s.images / 3))}
	if s.images%7 == 6 {
		change = nil
	}
	return Request{Kind: KindUp, Image: image(s.images), Images: map[string]string{"db": image(500)}, Config: shopConfig(3, shortWarm, withRoles(change...))}
}

func shortWarm(c *config.App) {
	c.Cutover.KeepPrevious = config.Duration(30 * time.Second)
	c.Cutover.Drain.LongConnections = config.Duration(40 * time.Second)
	c.Hooks = config.Hooks{AfterLaunch: aHook("al"), BeforeStep: aHook("bs"), BeforeShoot: aHook("shoot"), OnAbort: aHook("abort")}
	c.Jobs = map[string]config.Job{"job": {Cmd: exits("0"), Schedule: "* * * * *", Timeout: config.Duration(time.Hour), OnOverlap: config.OverlapSkip}}
	sticky(20 * time.Second)(c)
}

// runTask runs a command that ends at once, or only when something ends it.
func (s *simulation) runTask(ends bool) {
	cmd := sleeps
	if ends {
		cmd = exits("3")
	}
	task, err := s.o.RunTask(context.Background(), TaskRequest{Key: shop, By: "ann", Command: cmd})
	s.note("run %q: %s %v", cmd, task.Node, err)
	if err == nil {
		s.tasks = append(s.tasks, task)
	}
}

// unreliable is hooks that take a second, and of which every ninth fails and every thirteenth hangs.
func (s *simulation) unreliable() func(context.Context, hook.Command, func(string)) (hook.Exit, error) {
	var n atomic.Int64
	return func(ctx context.Context, c hook.Command, line func(string)) (hook.Exit, error) {
		i := n.Add(1)
		wait := time.Second
		if i%13 == 0 {
			wait = c.Timeout
		}
		line("runs")
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return hook.Exit{}, ctx.Err()
		}
		if i%9 == 0 || i%13 == 0 {
			return hook.Exit{Code: 1}, nil
		}
		return hook.Exit{}, nil
	}
}

// endTasks ends those that run, and checks that none was run twice.
func (s *simulation) endTasks() {
	list, err := s.o.Tasks(context.Background(), shop, "")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, task := range list {
		if task.Ended.IsZero() {
			if err := s.o.StopTask(context.Background(), shop, task.ID, "ann"); err != nil {
				s.t.Error(err)
			}
		}
	}
	for _, task := range append(s.tasks, list...) {
		if n := s.driver.Boots(task.Node); n > 1 {
			s.t.Errorf("%s was run %d times", task.Node, n)
		}
	}
}

func (s *simulation) ask(req Request) {
	op, err := s.try(req)
	s.note("%s %s: %s %v", req.Kind, req.Release, op.ID, err)
	refused := req.Kind == KindQuarantine && (fault.Is(err, fault.Denied) || fault.Is(err, fault.Failed)) // no room, or it leaves already
	if err != nil && !refused && !fault.Is(err, fault.Busy) && !fault.Is(err, fault.NotFound) {
		s.t.Errorf("%s: %v", req.Kind, err)
	}
}

// checkSplit: all the traffic of each role that is routed goes somewhere, once there was a release, and is split like the others'.
// No two nodes of the database run.
func (s *simulation) checkSplit() {
	split := s.split()
	for _, name := range []string{"web", "api:internal"} {
		if len(s.roles) == 1 && name != "web" {
			continue
		}
		sum := 0
		for _, w := range split[name] {
			sum += w
		}
		if sum != 100 || !maps.Equal(split[name], split["web"]) {
			s.t.Errorf("the weights of %s are %v, those of web %v", name, split[name], split["web"])
		}
	}
	databases := slices.DeleteFunc(s.driver.All(), func(n fleet.Node) bool { return n.ID.Fleet.Role != "db" || n.Presence != fleet.Present })
	if len(databases) > 1 {
		s.t.Errorf("%d databases run", len(databases))
	}
}

// heal ends all faults and checks that everything comes to rest with exactly the nodes that the state names.
func (s *simulation) heal() {
	s.note("heal")
	s.mu.Lock()
	clear(s.sick)
	s.mu.Unlock()
	s.endTasks()
	s.until("rest", func(st *State) bool {
		serving := st.serving()
		if len(st.Operations)+len(st.Tasks) > 0 || serving == nil || len(st.Fleets) != len(st.release(serving.ID.Release).Config.RoleNames()) {
			return false
		}
		return !slices.ContainsFunc(st.Fleets, func(fl *Fleet) bool {
			return fl.Weight != 100 || fl.healthy() != st.size(fl) || len(fl.Nodes) != st.size(fl)
		})
	})
	var named []string
	for _, fl := range s.state().Fleets {
		for _, n := range fl.Nodes {
			named = append(named, n.Name)
		}
	}
	slices.Sort(named)
	if running := s.running(""); !slices.Equal(named, running) {
		s.t.Errorf("recorded %v, running %v\n%s", named, running, strings.Join(s.trace, "\n"))
	}
}
