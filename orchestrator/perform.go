package orchestrator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
)

// deadline bounds one try of an action.
func (a Action) deadline() time.Duration {
	switch a.Kind {
	case ActPrepare:
		return prepareWithin
	case ActRemove:
		return a.Grace + 30*time.Second
	case ActTail:
		return 2 * time.Second
	}
	return time.Minute
}

// start runs an action aside, unless it runs already, is done, or failed a moment ago.
func (o *Orchestrator) start(ctx context.Context, s *State, a Action) {
	key := a.Key()
	w := &o.world
	if w.running[key] || w.results[key].Done || w.results[key].Final || o.opts.Now().Before(w.retry[key]) {
		return
	}
	switch a.Kind {
	case ActHook:
		o.startHook(ctx, s, a)
		return
	case ActAsk:
		o.startAsk(ctx, s, a)
		return
	case ActVolume:
		o.aside(ctx, a, func(ctx context.Context) (Result, []fleet.Node) { return outcome(a, o.removeVolume(ctx, a)), nil })
		return
	}
	fl := s.fleet(a.Fleet.String())
	if fl == nil {
		return
	}
	spec, require := o.spec(s, fl), s.configOf(fl).Require
	if a.Kind == ActBoot && slices.ContainsFunc(spec.Nodes, func(n fleet.NodeSpec) bool { return n.Name == a.Node && o.unmet(n.Host) }) {
		return // the next look at it says
	}
	o.aside(ctx, a, func(ctx context.Context) (Result, []fleet.Node) {
		if a.Kind == ActVerify {
			return outcome(a, o.verify(spec.Image, require)), nil
		}
		return o.perform(ctx, fl.Driver, a, spec)
	})
}

// aside does an action in a goroutine of its own, within its deadline. It is called in the loop.
func (o *Orchestrator) aside(ctx context.Context, a Action, do func(context.Context) (Result, []fleet.Node)) {
	o.world.running[a.Key()] = true
	go func() {
		ctx, cancel := context.WithTimeout(ctx, a.deadline())
		defer cancel()
		failpoint.Begins(string(a.Kind))
		res, nodes := do(ctx)
		failpoint.Ends(string(a.Kind))
		o.post(func() { o.performed(a, res, nodes) })
	}()
}

// retryAfter is the wait before an action's next try, by how often it failed: 0.1 s, doubled up to 5 s.
func retryAfter(tries int) time.Duration {
	return min(100*time.Millisecond<<min(tries, 10), 5*time.Second)
}

// performed takes an action's outcome into what is known. It runs in the loop.
func (o *Orchestrator) performed(a Action, res Result, nodes []fleet.Node) {
	w := &o.world
	key := a.Key()
	delete(w.running, key)
	delete(w.progress, key)
	res.Tries, res.At = w.results[key].Tries+1, o.opts.Now()
	w.results[key] = res
	if res.Err != nil {
		w.retry[key] = o.opts.Now().Add(retryAfter(res.Tries))
		o.log.Warn("action failed", "action", key, "tries", res.Tries, "error", res.Err)
	}
	for _, n := range nodes {
		w.nodes[n.ID.Node] = nodeSeen{node: n, since: o.opts.Now()}
		o.staleOf(a.app())
	}
	if a.Kind == ActRemove || a.Kind == ActDestroy {
		o.look() // what it broke is its operation's cost
	}
	o.hint(a.Fleet.String())
	o.touch(a.app())
}

func (o *Orchestrator) removeVolume(ctx context.Context, a Action) error {
	d, err := o.opts.Drivers.Driver(a.Driver)
	if err != nil {
		return err
	}
	scope, err := o.scope(ctx, a.Driver)
	if err != nil {
		return err
	}
	if o.opts.Shared && scope != a.Scope {
		return fault.New(fault.Unsupported, "remove volume %s: it is on %s, and this agent sees %s", a.Volume, a.Scope, scope).
			WithHint("an agent that sees it must lead")
	}
	keeper, ok := d.(fleet.VolumeKeeper)
	if !ok {
		return fault.New(fault.Unsupported, "remove volume %s: driver %s keeps none", a.Volume, a.Driver)
	}
	return keeper.RemoveVolume(ctx, *a.Volume)
}

// perform does one action through the driver.
func (o *Orchestrator) perform(ctx context.Context, driver string, a Action, spec fleet.Spec) (Result, []fleet.Node) {
	d, err := o.opts.Drivers.Driver(driver)
	if err != nil {
		return outcome(a, err), nil
	}
	id := fleet.NodeID{Fleet: a.Fleet, Node: a.Node}
	switch a.Kind {
	case ActPrepare:
		return outcome(a, o.prepare(ctx, d, a, spec)), nil
	case ActRemove:
		return outcome(a, butFor(spec, a.Node, d.Remove(ctx, id, a.Grace))), nil
	case ActDestroy:
		return outcome(a, d.Destroy(ctx, a.Fleet)), nil
	case ActTail:
		lines, err := tail(ctx, d, id, o.maskRefs(spec.Secrets))
		res := outcome(a, err)
		res.Lines = lines
		return res, nil
	case ActBoot:
		o.boots <- struct{}{}
		defer func() { <-o.boots }()
		return o.bootNode(ctx, d, a, spec)
	}
	return outcome(a, fmt.Errorf("%s: no such action", a.Kind)), nil
}

// butFor takes away an error about hosts that a node is not on.
func butFor(spec fleet.Spec, node string, err error) error {
	away, only := onlyAway(err)
	at := slices.IndexFunc(spec.Nodes, func(n fleet.NodeSpec) bool { return n.Name == node && n.Host != "" })
	if at >= 0 && only && !slices.Contains(away.Hosts, spec.Nodes[at].Host) {
		return nil
	}
	return err
}

func (o *Orchestrator) bootNode(ctx context.Context, d fleet.Driver, a Action, spec fleet.Spec) (Result, []fleet.Node) {
	for _, n := range spec.Nodes {
		if n.Name == a.Node {
			spec.Nodes = []fleet.NodeSpec{n}
			break
		}
	}
	secrets, err := o.secrets(spec.Secrets)
	if err != nil {
		return outcome(a, err), nil
	}
	spec.Secrets = secrets
	nodes, err := d.Ensure(ctx, spec)
	return outcome(a, err), nodes
}

// secrets reads what the references stand for.
func (o *Orchestrator) secrets(refs map[string]string) (map[string]string, error) {
	values := maps.Clone(refs)
	for name, ref := range refs {
		value, err := o.opts.Secret(ref)
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", name, err)
		}
		values[name] = value
	}
	return values, nil
}

// outcome says whether another try makes sense: not when the driver knows that it cannot work, nor for a signature. A node whose boot cannot
// work is made up for by another one; what is to be removed is tried for ever.
func outcome(a Action, err error) Result {
	if err == nil {
		return Result{Done: true}
	}
	final := errors.Is(err, fleet.ErrImageLacksTarget) || errors.Is(err, images.ErrDamaged)
	switch fault.CodeOf(err) {
	case fault.Invalid, fault.NotFound, fault.Denied, fault.Unsupported, fault.NoSpace, fault.Exists:
		final = true
	case fault.Failed:
		final = final || a.Kind == ActBoot && !errors.Is(err, fleet.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded)
	}
	if errors.Is(err, fleet.ErrUnavailable) {
		final = false
	}
	return Result{Err: err, Final: final && (a.Kind == ActBoot || a.Kind == ActPrepare) || a.Kind == ActVerify}
}

// tailLines is how much of a failed node's output is kept.
const tailLines = 20

// tail reads the last lines of a node's output, masked; none when the driver keeps no logs.
func tail(ctx context.Context, d fleet.Driver, id fleet.NodeID, mask func(string) string) ([]string, error) {
	logger, ok := d.(fleet.Logger)
	if !ok {
		return nil, nil
	}
	r, err := logger.Logs(ctx, id, fleet.LogOptions{Tail: tailLines})
	if errors.Is(err, fleet.ErrNoNode) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the last lines of %s: %w", id.Node, err)
	}
	defer r.Close()
	lines, err := readTail(r, mask)
	if err != nil {
		return nil, fmt.Errorf("read the last lines of %s: %w", id.Node, err)
	}
	return lines, nil
}

// maxTailLine is how much of one line is kept, in bytes: it goes into the state.
const maxTailLine = 2000

// readTail reads lines "time stream text" and gives the texts, masked before they are cut.
func readTail(r io.Reader, mask func(string) string) ([]string, error) {
	var lines []string
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadString('\n')
		if line != "" {
			parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
			lines = append(lines, cut(mask(parts[len(parts)-1])))
		}
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func cut(line string) string {
	if len(line) <= maxTailLine {
		return line
	}
	return strings.ToValidUTF8(line[:maxTailLine], "") + "…"
}

// spec is what a driver is told of a fleet. Secrets are references here; they are read at each start of a node.
func (o *Orchestrator) spec(s *State, fl *Fleet) fleet.Spec {
	cfg := s.configOf(fl).Fleet
	spec := fleet.Spec{
		Fleet: fl.ID, Installation: o.opts.Installation, Kind: fleet.Serve, Image: fl.Image, Port: fl.Port,
		Command: s.roleOf(fl).Command, Env: s.environment(fl, cfg.Env), Secrets: cfg.Secrets,
		Resources: fleet.Resources{CPUs: cfg.Resources.CPUs, Memory: int64(cfg.Resources.Memory)},
		Stop:      fleet.Stop{Signal: cfg.Stop.Signal, Grace: cfg.Stop.Grace.Std()},
		Cluster:   fleet.Cluster(cfg.Swarm),
		Placement: fleet.Placement{Types: cfg.EC2.Types, Subnets: cfg.EC2.Subnets, Groups: cfg.EC2.SecurityGroups, Profile: cfg.EC2.Profile, Spot: cfg.EC2.SpotPercent()},
	}
	t := s.taskOf(fl)
	spec.Volumes = s.mounts(fl, t != nil)
	if t != nil {
		spec.Kind, spec.Command, spec.Port = fleet.Once, t.Command, 0
	}
	for _, n := range fl.Nodes {
		spec.Nodes = append(spec.Nodes, fleet.NodeSpec{Name: n.Name, Slot: n.Slot})
	}
	spec.Hosts = slices.DeleteFunc(s.hosts(fl), func(name string) bool { return o.world.hosts.records[name].Drained }) // may be none, which is not nil
	if len(s.hosts(fl)) > 0 {
		for i, n := range fl.Nodes {
			spec.Nodes[i].Host = n.Host
		}
	}
	return spec
}
