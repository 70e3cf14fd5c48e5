package orchestrator

import (
	"cmp"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator/canary"
)

// schema is the version of everything this package writes to the store.
const schema = 1

// Role is the one role of an app without roles.
const Role = config.DefaultRole

// Key names an app in an environment.
type Key struct {
	App string `json:"app"`
	Env string `json:"env"`
}

// String is "app/env".
func (k Key) String() string { return k.App + "/" + k.Env }

func (k Key) compare(other Key) int {
	return cmp.Or(strings.Compare(k.App, other.App), strings.Compare(k.Env, other.Env))
}

// FleetState is where a fleet is in its life.
type FleetState string

const (
	FleetLaunching FleetState = "launching" // booting, not yet gated
	FleetReady     FleetState = "ready"     // healthy, weight 0, never had weight since it was booted
	FleetServing   FleetState = "serving"   // has weight
	FleetDraining  FleetState = "draining"  // lost its weight, finishes its requests
	FleetWarm      FleetState = "warm"      // kept at weight 0 for a rollback
	FleetShooting  FleetState = "shooting"  // out of the table, being destroyed
)

// NodeState is where a node is in its life.
type NodeState string

const (
	NodeStarting    NodeState = "starting"
	NodeHealthy     NodeState = "healthy"
	NodeUnhealthy   NodeState = "unhealthy"
	NodeDraining    NodeState = "draining"    // leaves: out of the table, shot when empty
	NodeQuarantined NodeState = "quarantined" // out of its fleet and the route, kept to be looked at
	NodeDead        NodeState = "dead"        // gone by itself; what it left is being removed
)

// ReleaseState is what became of a release.
type ReleaseState string

const (
	ReleaseNew        ReleaseState = "new"         // not yet at 100 %
	ReleaseCompleted  ReleaseState = "completed"   // reached 100 %
	ReleaseAborted    ReleaseState = "aborted"     // failed its gate or was aborted on the way
	ReleaseRolledBack ReleaseState = "rolled_back" // was at 100 % and was routed away from as bad
)

// Release is the immutable record of one version.
type Release struct {
	ID           string       `json:"id"` // r1, r2 …
	Image        string       `json:"image"`
	Port         int          `json:"port"` // the image's first port; 0: none
	Config       config.App   `json:"config"`
	By           string       `json:"by"`
	At           time.Time    `json:"at"`
	BakedAt      time.Time    `json:"baked_at,omitzero"` // when its image came into the agent's image store, if that is known
	State        ReleaseState `json:"state"`
	CompletedAt  time.Time    `json:"completed_at,omitzero"`  // when it had all the traffic first
	ServedAt     time.Time    `json:"served_at,omitzero"`     // when it got all of it last, if that was by a rollback
	Ledger       Ledger       `json:"ledger,omitzero"`        // of the operations that moved to it, and of what they drained
	Incarnations int          `json:"incarnations"`           // minted so far
	PreviewHash  string       `json:"preview_hash,omitempty"` // SHA-256 of the preview key, hex
	Files        []HookFile   `json:"files,omitempty"`        // that its hooks need
	Approvals    []Approval   `json:"approvals,omitempty"`    // of its cutover steps

	// Of an app with roles, by role.
	Images        map[string]string `json:"images,omitempty"`
	Ports         map[string]int    `json:"ports,omitempty"`
	PreviewHashes map[string]string `json:"preview_hashes,omitempty"`
}

// Node is one node of a fleet, from the moment its name is minted until nothing of it is left.
type Node struct {
	Name      string     `json:"name"`
	Slot      int        `json:"slot"`
	State     NodeState  `json:"state"`
	Since     time.Time  `json:"since"` // of the state
	MintedAt  time.Time  `json:"minted_at"`
	Booted    bool       `json:"booted"` // the driver has said that it started
	Address   string     `json:"address,omitempty"`
	PID       int        `json:"pid,omitempty"`
	Host      string     `json:"host,omitempty"`       // of a fleet with hosts it is chosen when the node is minted
	Reason    string     `json:"reason,omitempty"`     // why it is unhealthy, draining or dead
	Replaces  string     `json:"replaces,omitempty"`   // the node whose place it takes
	Asked     bool       `json:"asked,omitempty"`      // a person asked for its replacement
	LeavesAt  time.Time  `json:"leaves_at,omitzero"`   // draining: the deadline of its requests
	WasServed bool       `json:"was_served,omitempty"` // it was healthy once
	Tailed    bool       `json:"tailed,omitempty"`     // its last lines were read, or cannot be
	Stray     bool       `json:"stray,omitempty"`      // it is to be replaced, since it differs from its image
	Moves     string     `json:"moves,omitempty"`      // why it is to be replaced on another host
	ForDrift  bool       `json:"for_drift,omitempty"`  // the node that it replaces differed from its image
	Gone      bool       `json:"gone,omitempty"`       // unhealthy: its host, or who could tell of it, is out of sight too
	Drift     *NodeDrift `json:"drift,omitempty"`      // how it differs from its image; nil: not that anybody knows. Never changed in place
	// Quarantine is set on a node that is in quarantine, or goes there once it is made up for.
	Quarantine Quarantine `json:"quarantine,omitzero"`
	Drain
}

// Fleet is the nodes of one role of one release, one incarnation.
type Fleet struct {
	ID        fleet.FleetID `json:"id"`
	Driver    string        `json:"driver"`
	Scope     string        `json:"scope,omitempty"` // what its driver saw when it was begun (fleet.Scoped); agents that see something else cannot keep it
	Image     string        `json:"image"`
	Port      int           `json:"port"`
	State     FleetState    `json:"state"`
	Since     time.Time     `json:"since"`
	Weight    int           `json:"weight"`  // percent of the route; without a route, of its role's work
	Standby   bool          `json:"standby"` // may take spilled requests while warm
	HadWeight bool          `json:"had_weight"`
	Prepared  bool          `json:"prepared"` // the image is on the hosts
	Nodes     []*Node       `json:"nodes"`
	Failures  int           `json:"failures"`            // nodes that died or never became healthy, since the last that did
	FailedAt  time.Time     `json:"failed_at,omitzero"`  // when the newest of them did
	NotBefore time.Time     `json:"not_before,omitzero"` // no boot of a replacement before
	Storm     Storm         `json:"storm,omitzero"`      // why its nodes are not replaced now
	Replaced  Hourly        `json:"replaced,omitzero"`   // unhealthy nodes, within the last hour
	WarmLeft  time.Duration `json:"warm_left,omitempty"` // warm: time left, counted while the serving fleet is healthy
	DrainBy   time.Time     `json:"drain_by,omitzero"`   // draining: the deadline of its requests
	Reason    string        `json:"reason,omitempty"`
	Hint      string        `json:"hint,omitempty"`  // what to do about it, if the driver said so
	Kept      bool          `json:"kept,omitempty"`  // failed, and kept as it is to be looked at
	Tails     []NodeTail    `json:"tails,omitempty"` // last lines of the newest nodes that failed
	// SessionsBy: until then clients whose sticky cookie names the fleet stay on it though it lost weight.
	SessionsBy time.Time `json:"sessions_by,omitzero"`
	Hooks      HookRun   `json:"hooks,omitzero"`       // of its end
	Retired    *Retired  `json:"retired,omitempty"`    // who took its traffic, while it is drained
	Drifted    []string  `json:"drifted,omitempty"`    // paths in which nodes differed that were replaced for it
	DriftHeld  string    `json:"drift_held,omitempty"` // why nodes that differ from their image are not replaced
	Accessory  bool      `json:"accessory,omitempty"`
	Before     string    `json:"before,omitempty"` // accessory: the release whose fleet it took the place of
	// BeforeDriver and BeforeScope are what that fleet ran on.
	BeforeDriver string `json:"before_driver,omitempty"`
	BeforeScope  string `json:"before_scope,omitempty"`
	Drain
}

// Retired is the operation that took a fleet's traffic: what draining the fleet costs is its cost.
type Retired struct {
	Operation int         `json:"operation"` // its number
	Release   string      `json:"release"`   // that it moved to
	From      FleetLedger `json:"from"`      // the fleet's counters then
}

// Kind is what an operation does.
type Kind string

const (
	KindLaunch   Kind = "launch"
	KindCutover  Kind = "cutover"
	KindUp       Kind = "up" // launch and cutover in one
	KindRollback Kind = "rollback"
	KindDestroy  Kind = "destroy"
	KindScale    Kind = "scale"
	KindReplace  Kind = "replace"
	// KindQuarantine takes nodes out of their fleets and keeps them, or lets them go.
	KindQuarantine Kind = "quarantine"
	KindContract   Kind = "contract" // the second phase of a migration
)

// Exclusive says whether the kind holds the lock of its app and environment.
func (k Kind) Exclusive() bool { return k != KindScale && k != KindReplace && k != KindQuarantine }

// Phase is where an operation is.
type Phase string

const (
	PhasePrepare  Phase = "preparing image"
	PhaseMigrate  Phase = "migrating the database"
	PhaseBoot     Phase = "waiting for health"
	PhaseShift    Phase = "shifting traffic"
	PhaseHold     Phase = "holding"
	PhaseWorkers  Phase = "waiting for roles without a route"
	PhaseAborting Phase = "routing back"
	PhaseShoot    Phase = "shooting"
	PhaseDone     Phase = "done"
)

// Step is one stop of a cutover: a share for the new release, how long to stay there, and who must say that it may go on.
type Step struct {
	Percent int           `json:"percent"`
	Hold    time.Duration `json:"hold"`
	Approve string        `json:"approve,omitempty"` // the group of whom one must approve; "": nobody need
	OneWay  bool          `json:"one_way,omitempty"` // once begun there is no way back by itself
}

// Traffic is what the edges counted for one fleet.
type Traffic = canary.Traffic

// Operation is something under way, or its record once it ended.
type Operation struct {
	ID         string         `json:"id"` // "op-7", counted per app and environment
	Number     int            `json:"number"`
	Kind       Kind           `json:"kind"`
	By         string         `json:"by"`
	Origin     *Origin        `json:"origin,omitempty"` // where it was asked for; nil: nobody asked, or an earlier version recorded it
	Asked      *Arguments     `json:"asked,omitempty"`  // with what
	At         time.Time      `json:"at"`
	FirstAt    time.Time      `json:"first_at,omitzero"` // when it gave Release traffic first
	Phase      Phase          `json:"phase"`
	Release    string         `json:"release,omitempty"` // what it moves to
	From       string         `json:"from,omitempty"`    // what served when it began
	Fleet      string         `json:"fleet,omitempty"`   // id of the fleet that it boots or moves to; of several the one that leads
	Fleets     []string       `json:"fleets,omitempty"`  // all of them, in the order in which they boot, if there are several
	Steps      []Step         `json:"steps,omitempty"`   // those to come; the first is the one under way
	Percent    int            `json:"percent"`           // the share of Release that is asked now
	HoldLeft   time.Duration  `json:"hold_left,omitempty"`
	Paused     bool           `json:"paused,omitempty"`
	Gate       string         `json:"gate,omitempty"` // the group whose approval it waits for now
	Approvals  []Approval     `json:"approvals,omitempty"`
	Before     map[string]int `json:"before,omitempty"` // weights by fleet when it began, to go back to
	Force      bool           `json:"force,omitempty"`
	KeepFailed bool           `json:"keep_failed,omitempty"`
	Size       int            `json:"size,omitempty"`       // scale
	Role       string         `json:"role,omitempty"`       // scale, in an app with roles
	Nodes      []string       `json:"nodes,omitempty"`      // replace: the nodes that are to go; quarantine: those it is about
	Auto       bool           `json:"auto,omitempty"`       // replace: nobody asked for it, nodes of Fleet failed
	Migrating  string         `json:"migrating,omitempty"`  // the phase of a migration that it runs
	Healthy    int            `json:"healthy,omitempty"`    // nodes that served well when that phase began
	WorseSince time.Time      `json:"worse_since,omitzero"` // when there were fewer
	Waits      string         `json:"waits,omitempty"`      // what it waits for, for people
	WaitsSince time.Time      `json:"waits_since,omitzero"`
	ToldAt     time.Time      `json:"told_at,omitzero"` // when the journal got the last entry on how far it is

	Baseline   map[string]Traffic `json:"baseline,omitempty"`  // by fleet, at the start of the present step
	Followed   string             `json:"followed,omitempty"`  // the release that the route followed when it began
	LedgerFrom Ledger             `json:"ledger_from"`         // what was counted when it began
	Ledger     Ledger             `json:"ledger"`              // what it cost; later also what draining the fleet that it retired did
	ShiftedAt  time.Time          `json:"shifted_at,omitzero"` // when every edge had its last split

	Hooks HookRun `json:"hooks,omitzero"` // how far they are

	Handed  map[string]string `json:"handed,omitempty"`  // volumes that it handed over, by name: the fleets that had them
	Volumes bool              `json:"volumes,omitempty"` // destroy: remove the volumes too

	Checks   []Check                    `json:"checks,omitempty"`    // how what abort_on asks stands in the step under way
	Evidence map[string]canary.Evidence `json:"evidences,omitempty"` // what the steps have shown, by fleet that is compared
	Unclear  time.Duration              `json:"unclear,omitempty"`   // for how long the step was held beyond its time, for a verdict
	Held     string                     `json:"held,omitempty"`      // why it waits for a person, if it paused by itself
	Accepted bool                       `json:"accepted,omitempty"`  // the step may be left: it has its verdict, or a person said so
	Verdicts []Verdict                  `json:"verdicts,omitempty"`  // oldest first
	OneWay   string                     `json:"one_way,omitempty"`   // what cannot be undone any more, for people; "": all can

	Failure   *Failure  `json:"failure,omitempty"`    // why it was or is being aborted; fault.NeedsPerson: why it is held
	AbortedBy string    `json:"aborted_by,omitempty"` // the person who aborted it, if it was one
	Ended     time.Time `json:"ended,omitzero"`
}

// Verdict is what a comparison of the releases and the questions of abort_on came to, when it decided something.
type Verdict struct {
	At      time.Time `json:"at"`
	Percent int       `json:"percent"`
	Role    string    `json:"role,omitempty"` // of an app with roles: whose requests were compared
	canary.Verdict
	Checks []Check `json:"checks,omitempty"` // what was answered last
}

// Failure says why an operation did not reach what was asked.
type Failure struct {
	Code    fault.Code `json:"code"`
	Message string     `json:"message"`
	Hint    string     `json:"hint,omitempty"`
	Logs    []NodeTail `json:"logs,omitempty"` // last lines of the nodes at fault

	brief string // Message for a journal in which the reason stands already
}

// NodeTail is the end of a node's output.
type NodeTail struct {
	Node  string   `json:"node"`
	Lines []string `json:"lines"`
}

// State is all that is known of one app in one environment.
type State struct {
	Schema        int          `json:"schema"`
	Key           Key          `json:"key"`
	Config        config.App   `json:"config"` // of the release that the route follows
	PreviewHash   string       `json:"preview_hash,omitempty"`
	Follows       string       `json:"follows,omitempty"` // that release
	Size          int          `json:"size"`              // set by scale for the role web; 0: the configuration's
	Releases      []*Release   `json:"releases"`
	NextRelease   int          `json:"next_release"`
	Lost          *Lost        `json:"lost,omitempty"` // an earlier store's, if fleets of it were found
	Fleets        []*Fleet     `json:"fleets"`
	Operations    []*Operation `json:"operations"` // under way; at most one of them is exclusive
	NextOperation int          `json:"next_operation"`
	Tasks         []*Task      `json:"tasks,omitempty"` // under way, and those that an operation under way may ask about
	NextTask      int          `json:"next_task,omitempty"`
	Jobs          []*JobState  `json:"jobs,omitempty"` // those with a schedule, and those that ran, by name
	EventSeq      uint64       `json:"event_seq"`
	Freeze        *Freeze      `json:"freeze,omitempty"`    // nobody may begin an operation; see Frozen
	Database      *Database    `json:"database,omitempty"`  // of an app with migrations that ran
	Volumes       []*Volume    `json:"volumes,omitempty"`   // all that were ever mounted and not removed
	Destroyed     bool         `json:"destroyed,omitempty"` // a person had everything shot, and nothing was launched since
	Repairs       []int        `json:"repairs,omitempty"`   // numbers of the automatic replacements whose records are kept

	// Of an app with roles, by role.
	Sizes         map[string]int     `json:"sizes,omitempty"` // set by scale
	PreviewHashes map[string]string  `json:"preview_hashes,omitempty"`
	Addresses     map[string]Address `json:"addresses,omitempty"` // where other roles reach it

	// What the edges counted since the app is known, and where their counters were then. Not worth writing by itself.
	Counted Ledger          `json:"counted,omitzero"`
	Marks   map[string]Mark `json:"marks,omitempty"` // by edge
}

// Address is where the router takes what other roles send to a role. It stays as long as the app has fleets.
type Address struct {
	Slot    int    `json:"slot"`    // leased like that of a node
	Address string `json:"address"` // host:port
}

// Event is one entry of the journal.
type Event struct {
	Seq       uint64    `json:"seq"`
	At        time.Time `json:"at"`
	App       string    `json:"app"`
	Env       string    `json:"env"`
	Type      string    `json:"type"` // "node.healthy", "cutover.step" …: object.what
	Operation string    `json:"operation,omitempty"`
	Release   string    `json:"release,omitempty"`
	Fleet     string    `json:"fleet,omitempty"`
	Node      string    `json:"node,omitempty"`
	Task      string    `json:"task,omitempty"`
	Percent   int       `json:"percent,omitempty"`
	InFlight  int       `json:"in_flight,omitempty"` // draining: requests left, long connections included
	Long      int       `json:"long,omitempty"`      // draining: long connections left
	Ledger    *Ledger   `json:"ledger,omitempty"`    // what an operation, or what draining a fleet cost
	Verdict   *Verdict  `json:"verdict,omitempty"`   // of a comparison: what it came to
	Message   string    `json:"message"`             // one line for people
	Epoch     uint64    `json:"epoch"`               // of the agent that wrote it
}
