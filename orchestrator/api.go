package orchestrator

import (
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// Request asks for an operation or steers the one under way.
type Request struct {
	Kind       Kind
	Key        Key
	By         string            // who, from where: "ann@laptop"
	Origin     *Origin           // where it came from, as the agent saw it; nil: not known
	Config     *config.App       // launch, up: the resolved configuration; also taken by cutover and rollback when given
	Image      string            // launch, up: digest
	Images     map[string]string // launch, up: digests by role, for roles that have another image
	Release    string            // cutover: "" is the newest launched; rollback: "" is the last that completed before
	Percent    int               // cutover: hold at this share; 0: the app's remaining steps to 100
	Size       int               // scale
	Role       string            // scale: in an app with several roles
	Nodes      []string          // replace, quarantine: names or unique prefixes
	Force      bool              // cutover: also without enough healthy nodes
	KeepFailed bool              // launch, up: do not shoot a fleet that failed its gate
	For        time.Duration     // quarantine: until the nodes may be shot; 0: as the configuration says
	Volumes    bool              // destroy: remove the volumes with their data
	End        bool              // quarantine: shoot the nodes that are in it
	Files      []HookFile        // launch, up: what the configuration's hooks need; the store has them
	Plan       *Basis            // launch, up, cutover: refuse if the world is not that of the plan any more; nil: there is no plan
	DryRun     bool              // for Plan: refuse what would be refused
	Wait       bool              // until what is under way has ended, and those have run who wait longer
}

// Check says whether there could be such an app and environment.
func (k Key) Check() error {
	if !config.ValidName(k.App) || !config.ValidName(k.Env) {
		return fault.New(fault.Invalid, "%q in %q is not an app in an environment", k.App, k.Env)
	}
	return nil
}

// Check says what is wrong with a request that came from outside, before anything looks at it: its configuration is to be one that
// a file could hold, and of the app that is asked for.
func (req *Request) Check() error {
	switch cfg := req.Config; {
	case cfg == nil:
		return nil
	case cfg.App != req.Key.App || cfg.Env != req.Key.Env:
		return fault.New(fault.Invalid, "%s of %s: the configuration is that of %s/%s", req.Kind, req.Key, cfg.App, cfg.Env)
	}
	return config.Valid(req.Config)
}

// Status is one app in one environment as it is now.
type Status struct {
	State   State
	Routes  []RouteStatus
	Traffic map[string]Rates // by fleet id, over the last seconds
	Nodes   map[string]NodeStatus
	Drained map[string]int // requests in flight by fleet id, long connections included
	Long    map[string]int // long connections by fleet id
	Found   []Found        // fleets of the app that no record knows
	Jobs    []JobStatus    // of the release that jobs run with
	Counted Ledger         // what the edges counted since the app is known
	Queue   []Queued       // who waits for what is under way, the next one first
}

// Deadline is when what is left on a fleet that lost its traffic is ended at the latest; zero for any other, and as long as its
// time does not count.
func (fl *Fleet) Deadline(long int) time.Time {
	switch {
	case !fl.LateSince.IsZero():
		return time.Time{}
	case fl.State == FleetDraining && !fl.SessionsBy.IsZero():
		return fl.SessionsBy
	case fl.State == FleetShooting && long > 0:
		return fl.closes(fl.DrainBy)
	case fl.State == FleetDraining || fl.State == FleetShooting:
		return fl.DrainBy
	}
	return time.Time{}
}

// Deadline is the same of a node that leaves.
func (n *Node) Deadline(long int) time.Time {
	switch {
	case n.State != NodeDraining || !n.LateSince.IsZero():
		return time.Time{}
	case long > 0:
		return n.closes(n.LeavesAt)
	}
	return n.LeavesAt
}

// Cost is what an operation cost so far, with what the edges have counted meanwhile if it is under way.
func (op *Operation) Cost(counted Ledger) Ledger {
	if !op.Ended.IsZero() {
		return op.Ledger
	}
	return counted.since(op.LedgerFrom)
}

// RouteStatus is the route as all edges confirmed it.
type RouteStatus struct {
	Role     string
	Internal bool // for the other roles
	Listen   string
	Version  string         // "epoch.seq"
	Error    string         // why it does not serve, if so
	Weights  map[string]int // percent by release
}

// Rates is traffic over a short time.
type Rates struct {
	RequestsPerSecond float64
	ErrorRate         float64 // 0…1
	P99               time.Duration
}

// NodeStatus is what is seen of a node now, beside its recorded state.
type NodeStatus struct {
	Present  string
	Health   string // last probe's message
	InFlight int    // requests, long connections included
	Long     int
}
