package orchestrator

import (
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/healthcheck"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/orchestrator/metrics"
	"github.com/bootandshoot/release/router"
)

// Facts are what is known of the world at one moment, as far as one app needs it. They may be old or incomplete;
// what is missing is unknown and never a reason to shoot.
type Facts struct {
	Now       time.Time
	Elapsed   time.Duration // since the round before; 0 in an agent's first round, so that time nobody watched does not count
	Nodes     map[string]NodeFact
	Routes    []router.Route      // this app's, in the newest table that every edge confirmed
	Refused   Refusal             // of the newest routes of this app by the router
	Unread    error               // why nobody knows what the router serves, if so
	Late      error               // why not every edge is known to have the newest table, if it takes long
	Unserved  string              // why no edge serves anything, if so
	Traffic   map[string]Traffic  // by fleet id
	Ledger    Ledger              // what the edges counted for this app since it is known
	Observed  time.Time           // when the newest reading of the edges began
	Confirmed time.Time           // when the newest table that every edge has was confirmed
	StickyKey string              // signs this app's sticky cookie, hex
	Found     FoundFact           // of this app: what carries our id and no record knows
	Approvers map[string][]string // who may approve for a group; one that is not there: everybody
	Results   map[string]Result   // of actions, by key
	Hosts     map[string]HostFact // by name; nil: there never were any
	// Progress is how far actions under way are, by key, for those that take long and say so.
	Progress map[string]fleet.Progress
	Output   map[string][]string  // what hooks have printed so far, by the key of their action
	Epoch    uint64               // of the agent
	Mint     func() (string, int) // a new random suffix and a free slot
	// Quarantine is how many nodes of the app may be in quarantine.
	Quarantine int
}

// Refusal is a router's no to routes. The zero value is none.
type Refusal struct {
	Err  error
	Span time.Duration // from the first no to the last; other routes of the app may have been asked for meanwhile
}

// NodeFact is what is known of one node.
type NodeFact struct {
	Presence fleet.Presence // "" when nobody has looked yet
	Absent   bool           // its driver listed the fleet after the boot was confirmed or failed for good, and does not know the node
	Address  string
	Host     string
	PID      int
	Exit     *fleet.Exit
	Verdict  healthcheck.Verdict // "" when not probed yet
	Message  string              // of the last probe that failed
	Routed   bool                // a table that names it is, or may be, in effect at an edge
	Closing  bool                // the table in effect ends its long connections
	Doubted  bool                // its driver cannot tell whether it runs, and where it would be reached is known
	Held     string              // why, if an edge does not answer that may route to it
	InFlight int                 // requests it has at the edges, long connections included; -1: not known since it left the table
	Long     int                 // of those: long connections
	Since    time.Time           // when it was started, as its driver says
	Booting  bool                // its boot is under way
	Reading  bool                // somebody follows its output
	Read     bool                // somebody has read its output to the end
	Drift    *DriftFact          // what the newest look for differences from its image found; nil: nobody has looked
}

// ActionKind is what an action does.
type ActionKind string

const (
	ActPrepare ActionKind = "prepare" // bring the image to the hosts
	ActBoot    ActionKind = "boot"    // make nodes exist
	ActTail    ActionKind = "tail"    // read the end of a node's output
	ActRemove  ActionKind = "remove"  // stop and remove a node
	ActDestroy ActionKind = "destroy" // remove what is left of a fleet
	ActHook    ActionKind = "hook"    // run a command of the app on the agent's machine
	ActVolume  ActionKind = "volume"  // remove a volume
	ActVerify  ActionKind = "verify"  // check that the image is signed as its release requires
	ActAsk     ActionKind = "ask"     // ask what abort_on asks
)

// Action is a side effect to bring about. It may be started again after a crash.
type Action struct {
	Kind  ActionKind
	Fleet fleet.FleetID
	Node  string // boot, tail and remove
	Grace time.Duration
	// Point tells actions of one kind apart. verify: what the check is for, each checks anew; hook: which one, of which point;
	// ask: which question, and which time; volume: for which operation.
	Point string
	// volume: which one, and who keeps it.
	Volume *fleet.VolumeID
	Driver string
	Scope  string // what the driver saw when the volume was made
	// hook and ask: whose it is, an operation's or a fleet's id in full, and what to run.
	App     Key
	Subject string
	Hook    *HookSpec // hook; ask: a command
	Metric  *Metric   // ask: a query
	Over    string    // ask: the key of the time before, whose answer is not needed any more
}

// Key identifies the action among those under way and in Facts.Results.
func (a Action) Key() string {
	switch a.Kind {
	case ActHook, ActAsk:
		return string(a.Kind) + "@" + a.Point + " " + a.Subject
	case ActVolume:
		return string(a.Kind) + "@" + a.Point + " " + a.Volume.String()
	}
	if a.Point != "" {
		return string(a.Kind) + "@" + a.Point + " " + a.Fleet.String()
	}
	return actionKey(a.Kind, a.Fleet, a.Node)
}

// app is whose action it is.
func (a Action) app() Key {
	if a.App != (Key{}) {
		return a.App
	}
	return Key{App: a.Fleet.App, Env: a.Fleet.Env}
}

func actionKey(kind ActionKind, id fleet.FleetID, node string) string {
	if node != "" {
		return string(kind) + " " + node
	}
	return string(kind) + " " + id.String()
}

// Result is the outcome of an action's last try. While a try is under way the action has no result.
type Result struct {
	Done  bool
	Err   error
	Final bool // trying again is no use
	Tries int
	Lines []string      // tail: the lines; ask: the first and the last of a command's
	Took  time.Duration // hook
	// ask: what was answered; with Err nothing was.
	Samples []metrics.Sample
	Exit    *hook.Exit
	At      time.Time // when it ended
}
