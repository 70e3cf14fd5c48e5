package api

import "time"

// Head begins the one object that ends standard output with --json. Error is set when the command failed.
type Head struct {
	Type   string `json:"type"`   // "result"
	Schema string `json:"schema"` // Schema
	Error  *Error `json:"error,omitempty"`
}

// NewHead is the head of a command's result; err may be nil.
func NewHead(err error) Head { return Head{Type: "result", Schema: Schema, Error: ErrorOf(err)} }

// FailedResult is the result of a command that failed before it had anything else to say.
type FailedResult struct{ Head }

// OperationResult is the result of launch, cutover, rollback, up, replace, scale, quarantine, pause, resume, abort and destroy.
type OperationResult struct {
	Head
	Operation string  `json:"operation,omitempty"`
	Kind      string  `json:"kind,omitempty"`
	Phase     string  `json:"phase,omitempty"`
	Release   string  `json:"release"`
	From      string  `json:"from"`
	Image     string  `json:"image,omitempty"`
	Percent   int     `json:"percent"`
	Seconds   float64 `json:"seconds"`
	Ledger    Ledger  `json:"ledger"`
}

// ResultOf is the result of an operation, under way or ended.
func ResultOf(o Operation) OperationResult {
	return OperationResult{
		Head: NewHead(nil), Operation: o.ID, Kind: o.Kind, Phase: o.Phase, Release: o.Release, From: o.From,
		Percent: o.Percent, Seconds: o.Seconds, Ledger: o.Ledger,
	}
}

// StatusResult is the result of status.
type StatusResult struct {
	Head
	Status
}

// StatusesResult is the result of status --all.
type StatusesResult struct {
	Head
	Apps []Status `json:"apps"` // by app and environment
}

// NodeResult is the result of status of one node.
type NodeResult struct {
	Head
	App     string `json:"app"`
	Env     string `json:"env"`
	Fleet   string `json:"fleet"`
	Release string `json:"release"`
	Image   string `json:"image"`
	Node    Node   `json:"node"`
	Drift   Drift  `json:"drift"` // as it is now, with all changes
}

// ExecResult is the result of exec. What the command printed are the events of type log before it.
type ExecResult struct {
	Head
	Node     string  `json:"node"` // as it was named
	ExitCode int     `json:"exit_code"`
	Seconds  float64 `json:"seconds"`
}

// EventsResult is the result of events: how many were shown, and the last one's number.
type EventsResult struct {
	Head
	Count int    `json:"count"`
	Last  uint64 `json:"last"`
}

// HistoryResult is the result of history.
type HistoryResult struct {
	Head
	Releases   []Release   `json:"releases"`
	Operations []Operation `json:"operations"`
}

// BakeResult is the result of bake.
type BakeResult struct {
	Head
	Image        string            `json:"image"`
	Images       map[string]string `json:"images,omitempty"` // by role, of an app with several recipes
	Name         string            `json:"name,omitempty"`
	Cached       bool              `json:"cached"`
	Reproducible bool              `json:"reproducible"`
	Steps        []BakeStep        `json:"steps"`
	Tests        []BakeTest        `json:"tests"` // of the recipe, all passed
	Seconds      float64           `json:"seconds"`
	Differences  []string          `json:"differences,omitempty"` // --check: paths that differ
}

// BakeStep is one step of a bake.
type BakeStep struct {
	Name    string  `json:"name"`
	Cached  bool    `json:"cached"`
	Seconds float64 `json:"seconds"`
	Bytes   int64   `json:"bytes"`
}

// BakeTest is a test of the recipe that the image passed.
type BakeTest struct {
	Name    string  `json:"name"`
	Cached  bool    `json:"cached"` // passed by this same image before
	Seconds float64 `json:"seconds"`
}

// AgentResult is the result of agent status and agent stop.
type AgentResult struct {
	Head
	Running  bool      `json:"running"`
	PID      int       `json:"pid"`
	Socket   string    `json:"socket"`
	Version  string    `json:"version"`
	Since    time.Time `json:"since,omitzero"`
	StateDir string    `json:"state_dir"`
	Name     string    `json:"name,omitempty"`   // among the agents that share a store
	Role     string    `json:"role,omitempty"`   // leader or standby
	Leader   string    `json:"leader,omitempty"` // the name of the agent that leads, or led last
	Why      string    `json:"why,omitempty"`    // why a standby could not take over now
	Found    []Found   `json:"found,omitempty"`  // fleets that run and that no record knows
	DryRun   bool      `json:"dry_run,omitempty"`
}

// ImagesResult is the result of images ls, export and rm.
type ImagesResult struct {
	Head
	DryRun bool        `json:"dry_run,omitempty"`
	Images []ImageInfo `json:"images"`
}

// ImageInfo is one image of the local store.
type ImageInfo struct {
	Image   string    `json:"image"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"` // when it was put into this store
	Size    int64     `json:"size"`
	Layers  int       `json:"layers"`
	Pinned  bool      `json:"pinned"`
	Targets []string  `json:"targets"` // container, machine
}

// DoctorResult is the result of doctor.
type DoctorResult struct {
	Head
	Checks []Check `json:"checks"`
}

// Check is one thing that doctor looked at.
type Check struct {
	Name    string `json:"name"`
	State   string `json:"state"` // ok, warn, fail
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}
