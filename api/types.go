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
	Kind       string          `json:"kind"` // launch, cutover, up, rollback, destroy, scale, replace
	By         string          `json:"by"`   // "ann@laptop"
	Config     json.RawMessage `json:"config,omitempty"`
	Image      string          `json:"image,omitempty"`   // digest
	Release    string          `json:"release,omitempty"` // cutover, rollback: "r8"
	Percent    int             `json:"percent,omitempty"` // cutover: hold at this share
	Size       int             `json:"size,omitempty"`    // scale
	Nodes      []string        `json:"nodes,omitempty"`   // replace
	Force      bool            `json:"force,omitempty"`
	KeepFailed bool            `json:"keep_failed,omitempty"`
}

// Submitted is the operation that a request began or attached to. Events after EventSeq are its own.
type Submitted struct {
	Operation Operation `json:"operation"`
	EventSeq  uint64    `json:"event_seq"`
}

// Steer is a word to the operation under way.
type Steer struct {
	Verb string `json:"verb"` // pause, resume, abort
	By   string `json:"by"`
}

// Operation is something under way, or its record once Ended is set.
type Operation struct {
	ID         string    `json:"id"`
	Kind       string    `json:"kind"`
	By         string    `json:"by"`
	At         time.Time `json:"at"`
	Phase      string    `json:"phase"`
	Release    string    `json:"release,omitempty"`
	From       string    `json:"from,omitempty"`
	Percent    int       `json:"percent"`
	Steps      []Step    `json:"steps,omitempty"` // to come, the one under way first
	HoldLeft   float64   `json:"hold_left,omitempty"`
	Paused     bool      `json:"paused,omitempty"`
	Waits      string    `json:"waits,omitempty"` // what it waits for, for people
	WaitsSince time.Time `json:"waits_since,omitzero"`
	Ledger     Ledger    `json:"ledger"`
	Failure    *Error    `json:"failure,omitempty"`
	Ended      time.Time `json:"ended,omitzero"`
	Seconds    float64   `json:"seconds"` // from its start to its end, or to now
}

// Done says whether the operation has ended.
func (o Operation) Done() bool { return !o.Ended.IsZero() }

// Step is one stop of a cutover.
type Step struct {
	Percent int     `json:"percent"`
	Hold    float64 `json:"hold"` // seconds
}

// Ledger is what an operation cost the users: requests while it ran, those that failed, were repeated on another
// node, or were cut, counted at the router.
type Ledger struct {
	Requests uint64 `json:"requests"`
	Failed   uint64 `json:"failed"`
	Retried  uint64 `json:"retried"`
	Cut      uint64 `json:"cut"`
}

// History lists operations that ended, the newest first.
type History struct {
	Operations []Operation `json:"operations"`
}

// Release is the record of one version.
type Release struct {
	ID          string    `json:"id"`
	Image       string    `json:"image"`
	By          string    `json:"by"`
	At          time.Time `json:"at"`
	State       string    `json:"state"` // new, completed, aborted, rolled_back
	CompletedAt time.Time `json:"completed_at,omitzero"`
}

// Releases lists all releases of an app in an environment, the oldest first.
type Releases struct {
	Releases []Release `json:"releases"`
}

// Status is one app in one environment as it is now.
type Status struct {
	App        string      `json:"app"`
	Env        string      `json:"env"`
	Size       int         `json:"size"`      // nodes asked for each fleet
	EventSeq   uint64      `json:"event_seq"` // number of the newest event
	Routes     []Route     `json:"routes"`
	Fleets     []Fleet     `json:"fleets"`
	Operation  *Operation  `json:"operation"`            // the one that holds the lock; null: none
	Background []Operation `json:"background,omitempty"` // replacements and scaling under way
	Next       string      `json:"next,omitempty"`       // the command that a person would type next
}

// Route is one entry that users reach, as all edges confirmed it.
type Route struct {
	Role    string   `json:"role"`
	Listen  string   `json:"listen"`
	Version string   `json:"version"` // of the table, "epoch.seq"
	Weights []Weight `json:"weights"`
	Error   string   `json:"error,omitempty"` // why it does not serve
}

// Weight is a release's share of a route.
type Weight struct {
	Release string `json:"release"`
	Percent int    `json:"percent"`
}

// Fleet is the nodes of one release, one incarnation.
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
	Rates    *Rates    `json:"rates,omitempty"`
	InFlight int       `json:"in_flight"`
	Nodes    []Node    `json:"nodes"`
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
	Percent   int       `json:"percent,omitempty"`
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
