package api

import (
	"encoding/json"
	"time"
)

// Agent says which agent answers.
type Agent struct {
	Version      string    `json:"version"`
	PID          int       `json:"pid"`
	Since        time.Time `json:"since"`
	Installation string    `json:"installation,omitempty"`
	StateDir     string    `json:"state_dir"`
	ImagesDir    string    `json:"images_dir"`
	Name         string    `json:"name,omitempty"`   // among the agents of the installation
	Role         string    `json:"role,omitempty"`   // RoleLeader or RoleStandby
	Leader       string    `json:"leader,omitempty"` // the name of the agent that leads, or led last
	Why          string    `json:"why,omitempty"`    // why a standby could not take over now
	Found        []Found   `json:"found,omitempty"`  // fleets that run and that no record knows
}

// Found is a fleet that carries the installation's id and that no record of the agent's store knows: the store was lost, or
// put back from an older copy.
type Found struct {
	Fleet   string `json:"fleet"` // app/env/role/release/incarnation
	Driver  string `json:"driver"`
	Nodes   int    `json:"nodes"`
	Listen  string `json:"listen,omitempty"` // where the router serves it
	Percent int    `json:"percent"`          // of that route
}

// The roles of an agent. Only a leader answers for apps; others say who leads.
const (
	RoleLeader  = "leader"
	RoleStandby = "standby"
)

// Forget says that an edge, which is the router of an agent, is gone for good.
type Forget struct {
	Edge   string `json:"edge"`
	DryRun bool   `json:"dry_run,omitempty"` // refuse what would be refused, and do nothing
}

// ForgetHost says that a machine is gone for good with all that ran there.
type ForgetHost struct {
	Host   string `json:"host"`
	By     string `json:"by"`                // "ann@laptop"
	DryRun bool   `json:"dry_run,omitempty"` // answer with what would be done, and do nothing
}

// Host is one of the machines that apps spread their nodes over.
type Host struct {
	Name    string     `json:"name"`
	Where   string     `json:"where"` // how its engine is reached
	State   string     `json:"state"` // answers, away
	Drained bool       `json:"drained"`
	By      string     `json:"by,omitempty"`   // who had it drained, or took that back
	At      time.Time  `json:"at,omitzero"`    // and when
	Since   time.Time  `json:"since,omitzero"` // away: when it answered last, as far as the agent saw it
	Why     string     `json:"why,omitempty"`  // away
	Nodes   []HostNode `json:"nodes"`
}

// What a host does.
const (
	HostAnswers = "answers"
	HostAway    = "away"
)

// HostNode is a node on a host.
type HostNode struct {
	App   string `json:"app"`
	Env   string `json:"env"`
	Role  string `json:"role"`
	Node  string `json:"node"`
	State string `json:"state"`
}

// Hosts are all of them, by name.
type Hosts struct {
	Hosts []Host `json:"hosts"`
}

// DrainHost has the nodes of a host replaced on others, or takes that back.
type DrainHost struct {
	Host   string `json:"host"`
	By     string `json:"by"`
	Undo   bool   `json:"undo,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"` // refuse what would be refused, and do nothing
}

// Forgotten is what a machine had that nothing waits for any more.
type Forgotten struct {
	Fleets  []string `json:"fleets"`            // ids; they are booted anew by the agent that answers
	Edges   []string `json:"edges"`             // routers there
	Volumes []string `json:"volumes,omitempty"` // ids; their data is lost
}

// App names an app in an environment.
type App struct {
	App string `json:"app"`
	Env string `json:"env"`
}

// Apps lists all that the agent knows.
type Apps struct {
	Apps []App `json:"apps"`
}

// Request asks for an operation. Config is the resolved configuration as JSON (config.App).
type Request struct {
	Kind       string            `json:"kind"` // launch, cutover, up, rollback, destroy, scale, replace, quarantine, contract
	By         string            `json:"by"`   // "ann@laptop"
	Config     json.RawMessage   `json:"config,omitempty"`
	Image      string            `json:"image,omitempty"`   // digest
	Images     map[string]string `json:"images,omitempty"`  // by role, of roles that have another image
	Release    string            `json:"release,omitempty"` // cutover, rollback: "r8"
	Percent    int               `json:"percent,omitempty"` // cutover: hold at this share
	Size       int               `json:"size,omitempty"`    // scale
	Role       string            `json:"role,omitempty"`    // scale, in an app with several roles
	Nodes      []string          `json:"nodes,omitempty"`   // replace, quarantine
	For        float64           `json:"for,omitempty"`     // quarantine: seconds; 0: as the configuration says
	Volumes    bool              `json:"volumes,omitempty"` // destroy: remove the volumes with their data
	End        bool              `json:"end,omitempty"`     // quarantine: shoot the nodes that are in it
	Force      bool              `json:"force,omitempty"`
	KeepFailed bool              `json:"keep_failed,omitempty"`
	Files      []File            `json:"files,omitempty"`   // launch, up: what hooks need; the agent has their content
	Plan       json.RawMessage   `json:"plan,omitempty"`    // basis of the plan that is run (Plan.Basis): refuse if the world has moved
	DryRun     bool              `json:"dry_run,omitempty"` // of a plan: refuse what would be refused
	Wait       bool              `json:"wait,omitempty"`    // answer when its turn has come: while another operation is under way, and others wait longer
}

// File is a file that hooks of a release need.
type File struct {
	Path       string `json:"path"`   // relative to release.yaml, with slashes
	Digest     string `json:"digest"` // SHA-256, hex
	Executable bool   `json:"executable,omitempty"`
}

// Files names files by their digests.
type Files struct {
	Digests []string `json:"digests"`
}

// Submitted is the operation that a request began or attached to. Events after EventSeq are its own.
type Submitted struct {
	Operation Operation `json:"operation"`
	EventSeq  uint64    `json:"event_seq"`
}

// Steer is a word to the operation under way, or that none may begin.
type Steer struct {
	Verb   string    `json:"verb"` // pause, resume, abort, approve, freeze, unfreeze
	By     string    `json:"by"`
	As     string    `json:"as,omitempty"`      // approve: the user for whom the caller acts; "": itself
	Reason string    `json:"reason,omitempty"`  // freeze
	Until  time.Time `json:"until,omitzero"`    // freeze; none: until unfreeze
	Force  bool      `json:"force,omitempty"`   // abort: also past what cannot be undone
	DryRun bool      `json:"dry_run,omitempty"` // say what would be done, and do nothing
}

// Steered is what a word did, or would do: the lines that the journal gets of it.
type Steered struct {
	Done []string `json:"done"`
}

// Queued is a request that waits for its turn.
type Queued struct {
	Kind    string    `json:"kind"`
	By      string    `json:"by"`
	Since   time.Time `json:"since"`
	Release string    `json:"release,omitempty"`
	Image   string    `json:"image,omitempty"`
}

// Freeze says that nobody may begin an operation on the app.
type Freeze struct {
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Until  time.Time `json:"until,omitzero"` // none: until unfreeze
}

// Approval is a person's word that a cutover may go on beyond a step.
type Approval struct {
	Group   string    `json:"group"`
	Percent int       `json:"percent"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
}

// Operation is something under way, or its record once Ended is set.
type Operation struct {
	ID         string     `json:"id"`
	Kind       string     `json:"kind"`
	By         string     `json:"by"`
	Origin     *Origin    `json:"origin,omitempty"`
	Asked      *Arguments `json:"asked,omitempty"`
	At         time.Time  `json:"at"`
	Phase      string     `json:"phase"`
	Release    string     `json:"release,omitempty"`
	From       string     `json:"from,omitempty"`
	Percent    int        `json:"percent"`
	Steps      []Step     `json:"steps,omitempty"` // to come, the one under way first
	HoldLeft   float64    `json:"hold_left,omitempty"`
	Paused     bool       `json:"paused,omitempty"`
	Gate       string     `json:"gate,omitempty"` // the group whose approval it waits for
	Approvals  []Approval `json:"approvals,omitempty"`
	Waits      string     `json:"waits,omitempty"` // what it waits for, for people
	WaitsSince time.Time  `json:"waits_since,omitzero"`
	Ledger     Ledger     `json:"ledger"`
	Auto       bool       `json:"auto,omitempty"`     // replace: nobody asked, nodes failed
	Held       string     `json:"held,omitempty"`     // why it waits for a person, if it paused by itself
	OneWay     string     `json:"one_way,omitempty"`  // what cannot be undone any more; "": all can
	Verdict    *Verdict   `json:"verdict,omitempty"`  // under way: what the comparison comes to now; of several the first that is not good
	Compared   []Verdict  `json:"compared,omitempty"` // under way: the same for each role, where several are compared
	Checks     []Answer   `json:"checks,omitempty"`   // under way: what was answered to what abort_on asks
	Verdicts   []Verdict  `json:"verdicts,omitempty"` // that decided something, oldest first
	Failure    *Error     `json:"failure,omitempty"`
	Ended      time.Time  `json:"ended,omitzero"`
	Seconds    float64    `json:"seconds"` // from its start to its end, or to now
}

// Halted says whether the operation waits for a person.
func (o Operation) Halted() bool { return o.Paused || o.Gate != "" }

// Done says whether the operation has ended.
func (o Operation) Done() bool { return !o.Ended.IsZero() }

// Verdict is what the comparison of a new release with the old one came to, with its numbers.
type Verdict struct {
	At       time.Time      `json:"at,omitzero"`
	Percent  int            `json:"percent"`          // the new release's share then
	Role     string         `json:"role,omitempty"`   // of an app with roles: whose requests were compared
	Outcome  string         `json:"outcome"`          // worse, good, open
	Aspect   string         `json:"aspect,omitempty"` // what is worse: errors, p50, p90, p99
	Reason   string         `json:"reason"`
	New      VerdictNumbers `json:"new"`
	Old      VerdictNumbers `json:"old"`        // at the same time
	PWorse   float64        `json:"p_worse"`    // chance of such evidence against a release that is not worse, whenever one looks
	PNotGood float64        `json:"p_not_good"` // chance of such evidence for a release that is worse than tolerated
	Checks   []Answer       `json:"checks,omitempty"`
}

// Answer is how a question of abort_on stands in a step, or stood when there was a verdict.
type Answer struct {
	Name         string    `json:"name"`                    // its place in abort_on: prometheus[0]
	Asks         string    `json:"asks"`                    // the query and its limit, or the command
	AllowFailure bool      `json:"allow_failure,omitempty"` // it decides nothing
	At           time.Time `json:"at,omitzero"`             // of the newest answer
	Outcome      string    `json:"outcome,omitempty"`       // good, bad, unknown; none before the first answer
	Value        *float64  `json:"value,omitempty"`         // of a query
	Text         string    `json:"text,omitempty"`          // the answer, or why there is none
	BadFrom      time.Time `json:"bad_from,omitzero"`       // since when all answers are bad
}

// VerdictNumbers are one release's in the step.
type VerdictNumbers struct {
	Requests uint64  `json:"requests"`
	Errors   uint64  `json:"errors"`
	P50      float64 `json:"p50"` // seconds; 0: unknown
	P90      float64 `json:"p90"`
	P99      float64 `json:"p99"`
}

// Step is one stop of a cutover.
type Step struct {
	Percent int     `json:"percent"`
	Hold    float64 `json:"hold"`              // seconds
	Approve string  `json:"approve,omitempty"` // the group of whom one must approve before the next step
	OneWay  bool    `json:"one_way,omitempty"`
}

// Ledger is what an operation cost the users, counted at the router from its start to its end. Requests, Failed, Retried
// and Rejected are seen from the users' side, each request once; Causes and ByRelease are tries at nodes, so that a request
// that failed at one node and was served by another is among the causes and not among the failed.
type Ledger struct {
	Requests  uint64          `json:"requests"`
	Failed    uint64          `json:"failed"`   // answered 502, 503 or 504 by the router itself, or cut in the middle
	Retried   uint64          `json:"retried"`  // repeated on another node
	Cut       uint64          `json:"cut"`      // long connections that the router ended, also later, when the old fleet was drained
	Rejected  uint64          `json:"rejected"` // refused as malformed or over a limit
	Causes    Causes          `json:"causes"`
	ByRelease []ReleaseLedger `json:"by_release"`
}

// Causes are why tries failed.
type Causes struct {
	Connect  uint64 `json:"connect"` // no connection to the node could be made
	Reset    uint64 `json:"reset"`   // the connection broke before or within the answer
	Timeout  uint64 `json:"timeout"`
	Status5x uint64 `json:"status_5xx"` // answers of nodes; they are passed on
	NoNode   uint64 `json:"no_node"`    // there was none to try
}

// ReleaseLedger is one release's part.
type ReleaseLedger struct {
	Release  string `json:"release"`
	Requests uint64 `json:"requests"` // sent to its nodes
	Connect  uint64 `json:"connect"`
	Reset    uint64 `json:"reset"`
	Timeout  uint64 `json:"timeout"`
	Status5x uint64 `json:"status_5xx"`
	Cut      uint64 `json:"cut"`
}

// History lists operations that ended, the newest first.
type History struct {
	Operations []Operation `json:"operations"`
}

// Release is the record of one version.
type Release struct {
	ID          string            `json:"id"`
	Image       string            `json:"image"`
	Images      map[string]string `json:"images,omitempty"` // by role, of an app with roles
	By          string            `json:"by"`
	At          time.Time         `json:"at"`
	BakedAt     time.Time         `json:"baked_at,omitzero"`
	State       string            `json:"state"` // new, completed, aborted, rolled_back
	CompletedAt time.Time         `json:"completed_at,omitzero"`
	Ledger      Ledger            `json:"ledger"` // of its launch, cutovers and rollbacks together
}

// Releases lists all releases of an app in an environment, the oldest first.
type Releases struct {
	Releases []Release `json:"releases"`
}

// Status is one app in one environment as it is now.
type Status struct {
	App        string      `json:"app"`
	Env        string      `json:"env"`
	Size       int         `json:"size"`      // nodes asked for each fleet; of an app with roles: for those of the role that leads
	EventSeq   uint64      `json:"event_seq"` // number of the newest event
	Routes     []Route     `json:"routes"`
	Fleets     []Fleet     `json:"fleets"`
	Operation  *Operation  `json:"operation"`            // the one that holds the lock; null: none
	Background []Operation `json:"background,omitempty"` // replacements and scaling under way
	Tasks      []Task      `json:"tasks,omitempty"`      // commands under way in nodes of their own
	Jobs       []Job       `json:"jobs,omitempty"`       // those of the release that has the traffic
	Freeze     *Freeze     `json:"freeze,omitempty"`     // nobody may begin an operation
	Queue      []Queued    `json:"queue,omitempty"`      // who waits for the operation to end, the next one first
	Next       string      `json:"next,omitempty"`       // the command that a person would type next
	Found      []Found     `json:"found,omitempty"`      // fleets of the app that no record knows
	Database   *Database   `json:"database,omitempty"`   // of an app whose migrations ran
	Volumes    []Volume    `json:"volumes,omitempty"`    // all that are kept, of fleets that are gone too
}

// Volume is data of a role that outlives its nodes.
type Volume struct {
	Role   string    `json:"role"`
	Name   string    `json:"name"`
	Driver string    `json:"driver"`          // which keeps it
	Writer string    `json:"writer"`          // one, many
	Fleet  string    `json:"fleet,omitempty"` // one writer: the fleet whose node may have it
	Node   string    `json:"node,omitempty"`  // one writer: the node that has it; none: it is free
	Since  time.Time `json:"since,omitzero"`  // Node: since when
}

// Route is one entry that users, or other roles, reach, as all edges confirmed it.
type Route struct {
	Role     string   `json:"role"`
	Internal bool     `json:"internal,omitempty"` // for other roles: they know it as $RELEASE_ADDR_ROLE
	Listen   string   `json:"listen"`
	Version  string   `json:"version"` // of the table, "epoch.seq"
	Weights  []Weight `json:"weights"`
	Error    string   `json:"error,omitempty"` // why it does not serve
}

// Weight is a release's share of a route.
type Weight struct {
	Release string `json:"release"`
	Percent int    `json:"percent"`
}

// Fleet is the nodes of one role of one release, one incarnation.
type Fleet struct {
	ID       string    `json:"id"`
	Role     string    `json:"role"`
	Release  string    `json:"release"`
	Image    string    `json:"image"`
	Driver   string    `json:"driver"`
	State    string    `json:"state"` // launching ready serving draining warm shooting
	Since    time.Time `json:"since"`
	Percent  int       `json:"percent"`
	WarmLeft float64   `json:"warm_left,omitempty"` // seconds until a warm fleet may be shot
	Reason   string    `json:"reason,omitempty"`
	Storm    *Storm    `json:"storm,omitempty"` // what holds the replacing of its nodes
	Rates    *Rates    `json:"rates,omitempty"`
	InFlight int       `json:"in_flight"` // requests, long connections included
	Long     int       `json:"long"`      // WebSockets, event streams, gRPC streams, TCP connections
	// Deadline is when what is left on a fleet that lost its traffic is ended: sessions, requests, or long connections.
	Deadline  time.Time `json:"deadline,omitzero"`
	Accessory bool      `json:"accessory,omitempty"`     // it goes on over releases
	Sessions  time.Time `json:"sessions_until,omitzero"` // clients whose sticky cookie names the fleet stay on it so long
	Closing   bool      `json:"closing,omitempty"`       // its long connections are being closed
	// DriftHeld is why nodes that differ from their image are not replaced, though the policy says so.
	DriftHeld string `json:"drift_held,omitempty"`
	Nodes     []Node `json:"nodes"`
}

// Storm is why unhealthy nodes of a fleet are not replaced now.
type Storm struct {
	Kind   string    `json:"kind"` // all_unhealthy, as_bad, too_many, crash_loop
	Why    string    `json:"why"`
	Since  time.Time `json:"since"`
	Vain   int       `json:"vain"`             // tries in a row whose new nodes were no better
	NextAt time.Time `json:"next_at,omitzero"` // when a new node is tried next, unless things change before
}

// Rates is traffic over the last seconds.
type Rates struct {
	RequestsPerSecond float64 `json:"requests_per_second"`
	ErrorRate         float64 `json:"error_rate"`    // 0…1
	P99               float64 `json:"p99,omitempty"` // seconds
}

// Node is one node of a fleet.
type Node struct {
	ID       string    `json:"id"`
	State    string    `json:"state"` // starting healthy unhealthy draining quarantined dead
	Address  string    `json:"address"`
	PID      int       `json:"pid"`
	Host     string    `json:"host,omitempty"`
	Since    time.Time `json:"since"`
	Present  string    `json:"present,omitempty"`
	Health   string    `json:"health,omitempty"` // what the last probe said
	Reason   string    `json:"reason,omitempty"`
	InFlight int       `json:"in_flight"`
	Long     int       `json:"long"`
	Deadline time.Time `json:"deadline,omitzero"` // draining: when what is left is ended
	Drift    *Drift    `json:"drift,omitempty"`   // how it differs from its image; not there: not that anybody knows

	Quarantine *Quarantine `json:"quarantine,omitempty"` // of a node that is in quarantine, or about to be
}

// Drift is how a node differs from its image.
type Drift struct {
	Since   time.Time `json:"since,omitzero"` // of the first difference that was seen
	Total   int       `json:"total"`
	Changes []Change  `json:"changes"` // all, or the first of them
}

// Change is one difference.
type Change struct {
	What   string `json:"what"` // file, process, setting
	How    string `json:"how"`  // added, changed, removed
	Path   string `json:"path"` // of the file, or of the process's program; the name of a setting
	Detail string `json:"detail,omitempty"`
}

// Quarantine is why a node is kept out of its fleet.
type Quarantine struct {
	By   string  `json:"by"`
	Why  string  `json:"why,omitempty"`
	Left float64 `json:"left"` // seconds until it may be shot; they count while the serving fleet is whole
}

// Previous lists nodes that were removed and whose last output is kept, the oldest first.
type Previous struct {
	Nodes []PreviousNode `json:"nodes"`
}

// PreviousNode is one of them.
type PreviousNode struct {
	ID      string    `json:"id"`
	Release string    `json:"release"`
	Fleet   string    `json:"fleet"`
	At      time.Time `json:"at"` // when it was removed
	Bytes   int64     `json:"bytes"`
}

// Event is one entry of the journal. On standard output every line but the last is one.
type Event struct {
	Seq       uint64    `json:"seq"`
	At        time.Time `json:"at"`
	App       string    `json:"app"`
	Env       string    `json:"env"`
	Type      string    `json:"type"` // "node.healthy", "cutover.step" …
	Operation string    `json:"operation,omitempty"`
	Release   string    `json:"release,omitempty"`
	Fleet     string    `json:"fleet,omitempty"`
	Node      string    `json:"node,omitempty"`
	Task      string    `json:"task,omitempty"`
	Percent   int       `json:"percent,omitempty"`
	InFlight  int       `json:"in_flight,omitempty"` // draining: requests left, long connections included
	Long      int       `json:"long,omitempty"`      // draining: long connections left
	Ledger    *Ledger   `json:"ledger,omitempty"`    // of an end: what it cost
	Verdict   *Verdict  `json:"verdict,omitempty"`   // of a comparison: what it came to
	Message   string    `json:"message"`
}

// Blob names bytes by digest.
type Blob struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// Blobs lists blobs.
type Blobs struct {
	Blobs []Blob `json:"blobs"`
}

// ImageName is the name under which an uploaded image is listed.
type ImageName struct {
	Name string `json:"name"`
}

// Exec is a command to run inside a node.
type Exec struct {
	Command []string          `json:"command"`
	Env     map[string]string `json:"env,omitempty"`
	TTY     bool              `json:"tty,omitempty"`
	Stdin   bool              `json:"stdin,omitempty"`
	Window  Window            `json:"window"`
}

// Window is the size of a terminal in characters.
type Window struct {
	Columns int `json:"columns"`
	Rows    int `json:"rows"`
}
