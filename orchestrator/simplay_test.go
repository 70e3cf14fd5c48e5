package orchestrator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// play plays a schedule and says which invariant did not hold, nil for none.
func (s schedule) play(t *testing.T) (*violation, *simWorld) {
	t.Helper()
	var w *simWorld
	synctest.Test(t, func(*testing.T) {
		w = newSimWorld(s)
		defer func() {
			w.end()
			time.Sleep(2 * time.Minute) // what has a time of its own ends too
		}()
		agents := []string{"a"}
		if s.shared {
			agents = append(agents, "b")
		}
		for _, name := range agents {
			a := &simAgent{name: name}
			w.agents = append(w.agents, a)
			go w.supervise(a)
			sleep(w.ctx, 50*time.Millisecond)
		}
		p := &player{simWorld: w}
		for _, m := range s.moves {
			p.move(m)
			sleep(w.ctx, m.then)
		}
		p.heal()
	})
	return w.found, w
}

// player is people and the world around the agents.
type player struct {
	*simWorld
	images int
	far    *farEdge
}

// move does what a move says, to what there is at the time.
func (p *player) move(m move) {
	if p.ctx.Err() != nil {
		return
	}
	nodes := sortedNames(p.running())
	pick := func() string {
		if len(nodes) == 0 {
			return ""
		}
		return nodes[m.n%len(nodes)]
	}
	switch m.do {
	case "up", "launch", "cutover", "rollback", "scale", "destroy", "replace", "quarantine", "contract":
		p.request(m, pick())
	case "abort", "abort force", "pause", "resume", "approve":
		p.steer(m.do)
	case "drift", "restored":
		p.differs(m, []string{pick()})
	case "all drift":
		p.differs(m, nodes)
	case "bad metric", "no metric", "bad command", "no command":
		p.says(m)
	case "task":
		p.task(exits("3"))
	case "long task":
		p.task(sleeps)
	case "connections", "requests":
		p.connect(m)
	case "edge silent", "edge behind":
		p.edge(m)
	case "agent dies", "agent ends", "cut off":
		p.agent(m)
	default:
		p.world(m, pick())
	}
}

// request asks the leader for an operation. Who asks waits for the answer; the world goes on.
func (p *player) request(m move, node string) {
	req := Request{Kind: Kind(m.do), Key: shop, By: "ann"}
	switch m.do {
	case "up", "launch":
		p.images++
		if m.n%4 == 0 && p.images > 1 {
			p.ail(image(p.images))
		}
		p.launch(&req, m)
	case "cutover":
		req.Percent = 1 + m.n%100
	case "scale":
		roles := []string{Role}
		if p.schedule.roles {
			roles = []string{Role, "api", "worker"}
		}
		req.Size, req.Role = 1+m.n%5, roles[m.m%len(roles)]
	case "replace", "quarantine":
		req.Nodes = []string{node}
		if m.do == "quarantine" {
			req.For, req.End = m.span, m.m%4 == 0
		}
		p.loses(node)
		if node == "" {
			return
		}
	}
	p.ask(m.do, func(ctx context.Context, o *Orchestrator) error {
		op, err := o.Submit(ctx, req)
		p.note("ann", "%s %s: %s %v", m.do, strings.Join(req.Nodes, " "), op.ID, err)
		return err
	})
}

// ask asks who leads, and minds answers that nobody should get.
func (p *player) ask(what string, do func(context.Context, *Orchestrator) error) {
	leader := p.leader()
	if leader == nil {
		p.note("ann", "%s: nobody leads", what)
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
		defer cancel()
		err := do(ctx, leader.o)
		switch fault.CodeOf(err) {
		case fault.Busy, fault.NotFound, fault.Denied, fault.Failed, fault.Unavailable, fault.Invalid, fault.NeedsPerson, fault.Held:
			return
		}
		if err != nil && ctx.Err() == nil && p.blames(leader) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.violate(invAnswers, "%s: %v", what, err)
		}
	}()
}

// blames says whether an error is nobody's fault but the agent's: its store works.
func (p *player) blames(leader *process) bool {
	return len(p.schedule.mishaps) == 0 && !p.isCut(leader)
}

func (p *player) launch(req *Request, m move) {
	req.Image = image(p.images)
	if !p.schedule.roles {
		req.Config = shopConfig(simSize, simConfig(m.m), p.brings(m))
		return
	}
	change := []func(map[string]config.Role){database(fmt.Sprint(p.images / 3))}
	if m.m%7 == 6 {
		change = nil
	}
	req.Images, req.Config = map[string]string{"db": image(500)}, shopConfig(simSize, simConfig(m.m), p.brings(m), withRoles(change...))
}

// brings is what a release of this schedule has beside its plain configuration.
func (p *player) brings(m move) func(*config.App) {
	return func(c *config.App) {
		if p.schedule.database {
			migrating(p.images, m)(c)
		}
		if p.schedule.drifts {
			heldToImage(m)(c)
		}
		if p.schedule.asks {
			questioning(m)(c)
		}
	}
}

// simConfig is one of a few configurations whose times are short.
func simConfig(n int) func(*config.App) {
	return func(c *config.App) {
		c.Cutover.KeepPrevious = config.Duration(simKeep)
		c.Cutover.Drain = config.Drain{Timeout: config.Duration(simDrain), LongConnections: config.Duration(simLong), CloseWithin: config.Duration(simClose)}
		c.Health.StartWithin, c.Health.ReplaceAfter = config.Duration(15*time.Second), config.Duration(5*time.Second)
		switch n % 4 {
		case 1:
			c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(2 * time.Second)}, {Percent: 50, Hold: config.Duration(time.Second)}, {Percent: 100}}
		case 2:
			c.Hooks = config.Hooks{AfterLaunch: aHook("al"), BeforeStep: aHook("bs"), BeforeShoot: aHook("shoot"), OnAbort: aHook("abort")}
		case 3:
			c.Jobs = map[string]config.Job{"job": {Cmd: exits("0"), Schedule: "* * * * *", Timeout: config.Duration(time.Hour), OnOverlap: config.OverlapSkip}}
			sticky(simSessions)(c)
		}
	}
}

func (p *player) steer(verb string) {
	word := Word{Verb: verb, By: "ann", Name: "ann"}
	word.Verb, word.Force = strings.CutSuffix(verb, " force")
	p.mu.Lock()
	if op := p.state.exclusive(); op != nil && verb == "resume" {
		p.vouched[op.ID] = true
	}
	p.mu.Unlock()
	p.ask(verb, func(ctx context.Context, o *Orchestrator) error {
		_, err := o.Steer(ctx, shop, word)
		p.note("ann", "%s: %v", verb, err)
		return err
	})
}

// says is how questions are answered for a time.
func (p *player) says(m move) {
	how, what, _ := strings.Cut(m.do, " ")
	question := map[string]string{"metric": questionMetric, "command": questionCommand}[what]
	p.note("world", "%s for %s", m.do, m.span/2)
	p.mu.Lock()
	defer p.mu.Unlock()
	until := map[string]map[string]time.Time{"bad": p.bad, "no": p.silent}[how]
	until[question] = time.Now().Add(m.span / 2)
}

func (p *player) task(cmd []string) {
	p.ask("run", func(ctx context.Context, o *Orchestrator) error {
		task, err := o.RunTask(ctx, TaskRequest{Key: shop, By: "ann", Command: cmd})
		p.note("ann", "run %q: %s %v", cmd, task.Node, err)
		return err
	})
}

// connect gives a node in the table long connections, or requests, for a time.
func (p *player) connect(m move) {
	p.mu.Lock()
	defer p.mu.Unlock()
	shares := p.shares(p.table)
	names := slices.Sorted(maps.Keys(shares))
	if len(names) == 0 {
		return
	}
	name, id := names[m.n%len(names)], p.fleetOf(names[m.n%len(names)])
	if id == "" {
		return
	}
	count := 1 + m.m%50
	if m.do == "connections" {
		p.long[name] += count
	}
	p.flight[name] += count
	p.count(id, name)
	p.noteLocked("users", func() string { return fmt.Sprintf("%d %s on %s", count, m.do, short(name)) })
	time.AfterFunc(3*m.span, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.flight[name], p.long[name] = 0, 0
		p.count(id, name)
	})
}

// count tells the edge what a node has.
func (w *simWorld) count(id, name string) {
	w.router.Count(id, name, func(t *router.NodeTraffic) { t.InFlight, t.Long = w.flight[name], w.long[name] })
}

func (w *simWorld) fleetOf(node string) string {
	for _, route := range w.table.Routes {
		for _, fl := range route.Fleets {
			for _, n := range fl.Nodes {
				if n.Name == node {
					return fl.ID
				}
			}
		}
	}
	return ""
}

// agent is what happens to one agent.
func (p *player) agent(m move) {
	a := p.agents[m.n%len(p.agents)]
	if leader := p.leader(); leader != nil && m.m%3 > 0 {
		a = leader.agent
	}
	p.mu.Lock()
	proc := a.process
	if m.do != "cut off" && p.schedule.shared {
		a.away = m.span
	}
	p.mu.Unlock()
	if proc == nil {
		return
	}
	p.note(a.name, "%s for %s", m.do, m.span)
	switch m.do {
	case "agent dies":
		proc.die()
	case "agent ends":
		proc.cancel()
	case "cut off":
		late := time.Duration(0)
		if m.m%2 == 0 {
			late = 15 * time.Second
		}
		p.cutOff(a, 2*m.span, late)
	}
}

// world is what happens to nodes and to what carries them.
func (p *player) world(m move, node string) {
	p.note("world", "%s %s for %s", m.do, short(node), m.span)
	switch m.do {
	case "kill":
		p.kill(node, true)
	case "vanish":
		p.driver.Forget(node)
		p.mu.Lock()
		p.broken(node, true)
		p.mu.Unlock()
	case "reboot":
		for name := range p.running() {
			p.loses(name)
		}
		p.driver.Reboot()
		p.mu.Lock()
		for _, fl := range p.state.Fleets {
			for _, n := range fl.Nodes {
				p.broken(n.Name, false)
			}
		}
		p.mu.Unlock()
	case "sick":
		p.loses(node)
		p.ail(node)
		time.AfterFunc(2*m.span, func() { p.recover(node) })
	case "well":
		p.mu.Lock()
		sick := slices.Sorted(maps.Keys(p.sick))
		p.mu.Unlock()
		for _, what := range sick {
			p.recover(what)
		}
	case "unknown":
		p.driver.SetPresence(node, fleet.Unknown)
		time.AfterFunc(m.span, func() { p.known(node) })
	case "crashes":
		p.mu.Lock()
		p.crash = time.Now().Add(m.span + 10*time.Second)
		p.mu.Unlock()
		p.kill(node, true)
	case "driver down":
		p.mu.Lock()
		p.down = time.Now().Add(m.span / 2)
		p.mu.Unlock()
	case "router down":
		p.router.FailApply(context.DeadlineExceeded)
		time.AfterFunc(m.span/2, func() { p.router.FailApply(nil) })
	case "router dies":
		p.router.Restart()
		p.mu.Lock()
		clear(p.long)
		clear(p.flight)
		p.mu.Unlock()
	default:
		panic("no such move: " + m.do)
	}
}

// known ends that a driver cannot tell of a node, if it has not ended since.
func (p *player) known(node string) {
	if n, runs := p.running()[node]; runs && n.Presence == fleet.Unknown {
		p.driver.SetPresence(node, fleet.Present)
	}
}

func (p *player) loses(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fl := range p.state.Fleets {
		if p.state.node(fl, node) != nil {
			p.lost(fl.ID.String())
		}
	}
}

// ail makes a node answer badly, or all of an image.
func (p *player) ail(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sick[what] = time.Now()
}

func (p *player) recover(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.sick[what].IsZero() {
		delete(p.sick, what)
		p.well[what] = time.Now()
	}
}
