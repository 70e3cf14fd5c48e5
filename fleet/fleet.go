// Package fleet is the contract between the orchestrator and what runs nodes: sandboxes, Docker containers,
// machines. A driver turns a Spec into running nodes and reports what is there; when to boot, route, drain and
// shoot is the orchestrator's to decide.
//
// Every call may be repeated after a crash and changes nothing the second time. Names of nodes are minted and
// journalled by the caller before a driver hears of them, so whatever a crash left behind is found by name.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Errors that callers tell apart. Drivers wrap them with what they were doing.
var (
	// ErrUnavailable: the engine or host does not answer. The nodes are unknown, not dead.
	ErrUnavailable = errors.New("fleet: driver is unavailable")
	// ErrImageLacksTarget: the image has no form that this driver boots (image_lacks_target).
	ErrImageLacksTarget = errors.New("fleet: image lacks the driver's target")
	// ErrNoNode: no such node here.
	ErrNoNode = errors.New("fleet: no such node")
)

// Target is the form of an image that a driver boots.
type Target string

const (
	Container Target = "container"
	Machine   Target = "machine"
)

// Targeted is implemented by drivers that boot something else than containers.
type Targeted interface{ Target() Target }

// TargetOf is the form of image that d boots.
func TargetOf(d Driver) Target {
	if t, ok := d.(Targeted); ok {
		return t.Target()
	}
	return Container
}

// FleetID names the nodes of one role of one release in one environment, one incarnation. It is minted in the
// journal and never used again. Its text form is "app/env/role/release/incarnation", e.g. "shop/production/web/r8/1".
type FleetID struct {
	App, Env, Role, Release string
	Incarnation             int // 1-based
}

// String is the text form.
func (id FleetID) String() string {
	return fmt.Sprintf("%s/%s/%s/%s/%d", id.App, id.Env, id.Role, id.Release, id.Incarnation)
}

// ParseFleetID reads the text form.
func ParseFleetID(s string) (FleetID, error) {
	p := strings.Split(s, "/")
	if len(p) != 5 {
		return FleetID{}, fmt.Errorf("parse fleet id %q: want app/env/role/release/incarnation", s)
	}
	n, err := strconv.Atoi(p[4])
	if err != nil || n < 1 {
		return FleetID{}, fmt.Errorf("parse fleet id %q: incarnation is not a positive number", s)
	}
	return FleetID{App: p[0], Env: p[1], Role: p[2], Release: p[3], Incarnation: n}, nil
}

// MarshalText and UnmarshalText use the text form.
func (id FleetID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the text form.
func (id *FleetID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseFleetID(string(b))
	return err
}

// NodeID names a node for ever. Node is unique in the installation ("shop-production-r8-k3f9q"): at most 50
// characters of [a-z0-9-], so that it serves as a host name and a container name.
type NodeID struct {
	Fleet FleetID
	Node  string
}

// Kind says what becomes of a node that ends.
type Kind string

const (
	Serve Kind = "serve" // meant to run for ever
	Once  Kind = "once"  // a job: its exit is kept and adopted after a crash, it is never run again blindly
)

// NodeSpec is one node to boot.
type NodeSpec struct {
	Name string
	// Slot is a small number (0…) leased for this node, unique among the installation's nodes on the host. Drivers
	// derive the node's port or address from it, so that none is used again before every edge let go of it.
	Slot int
	// Host is where it boots, of those of a Hosted driver, chosen and journalled by the caller; "": the driver's choice.
	Host string
}

// Resources limits one node. Zero means no limit.
type Resources struct {
	CPUs   float64 // cores, e.g. 0.5
	Memory int64   // bytes
}

// Stop is how a node is asked to end.
type Stop struct {
	Signal string        // name without SIG, e.g. TERM
	Grace  time.Duration // from the signal to the kill
}

// Spec is a fleet, or some nodes of it, to boot.
type Spec struct {
	Fleet        FleetID
	Installation string // the id of the installation; every resource carries it
	Kind         Kind
	Image        string // digest of the image manifest, "sha256:…"
	Nodes        []NodeSpec
	Command      []string          // instead of the image's entrypoint; empty: the image's own
	Env          map[string]string // added to the image's
	Secrets      map[string]string // environment too, but never written to disk, logs or labels in clear
	Port         int               // the first port that the image declares; 0: none. Drivers set $PORT
	Resources    Resources
	Stop         Stop
	Volumes      []VolumeMount
	Hosts        []string // of a Hosted driver: where its nodes may boot; nil: anywhere
	Cluster      Cluster
	Placement    Placement // of a cloud's machines; other drivers have none
}

// How the router reaches the nodes of a cluster.
const (
	ReachPublished = "published" // by a port of the host that the node is on; "" is the same
	ReachNetwork   = "network"   // by the node's address in the first of Cluster.Networks
)

// Cluster is where in a cluster that schedules by itself nodes may be, and what of it they have. Other drivers have no use for it.
type Cluster struct {
	Constraints []string // hosts that nodes may be on, in the cluster's own words: all must hold
	Networks    []string // of the cluster, by name, that nodes join
	Secrets     []string // of the cluster, by name; nodes have them as files
	Reach       string
}

// Presence is what a driver knows of a node's existence.
type Presence string

const (
	Present Presence = "present" // it runs
	Gone    Presence = "gone"    // it ended, or its host was restarted; Exit says how if that is known
	Unknown Presence = "unknown" // the driver cannot tell: never a reason to shoot
)

// Exit is how a node ended.
type Exit struct {
	Code   int    // exit code, or 128 + signal
	Signal string // name without SIG, if a signal ended it
	Reason string // for people: "out of memory", "could not start: …"
	At     time.Time
}

// Node is what a driver knows of a node.
type Node struct {
	ID       NodeID
	Slot     int
	Host     string // where it runs; the host name
	Address  string // "ip:port" at which the router on the same host reaches its first port; "" while unknown or without port
	PID      int    // its first process in the host's numbering; 0 when unknown
	Image    string // digest it was booted from
	Presence Presence
	Exit     *Exit // set when gone and known
	Since    time.Time
}

// Fleet is what a driver found under an installation's id.
type Fleet struct {
	ID    FleetID
	Nodes int
}

// Driver is the contract.
type Driver interface {
	// Prepare brings the image to every host that may boot it. Errors: ErrUnavailable (try again),
	// ErrImageLacksTarget (final), a *fault.Error with the next step (disk full, no permission).
	Prepare(ctx context.Context, spec Spec) error
	// Ensure makes the nodes named in spec.Nodes exist and removes none; a node that exists already, running or
	// gone, is returned as it is. It returns when they are started, not when they are healthy, and may return some
	// nodes and an error for the others (errors.Join, each naming its node).
	Ensure(ctx context.Context, spec Spec) ([]Node, error)
	// Remove sends the stop signal that the node was booted with, waits up to grace, kills, and removes all that the
	// node left but its log tail. An absent node is success.
	Remove(ctx context.Context, id NodeID, grace time.Duration) error
	// Nodes lists the nodes of a fleet, those that ended included until they are removed.
	Nodes(ctx context.Context, id FleetID) ([]Node, error)
	// Destroy removes all nodes of the fleet at once, without grace, and what the fleet itself holds.
	Destroy(ctx context.Context, id FleetID) error
	// Fleets lists all fleets that carry the driver's installation id: how what a crash left is found.
	Fleets(ctx context.Context) ([]Fleet, error)
}

// Progress is how far bringing an image to the hosts is.
type Progress struct {
	Doing       string // for people: "unpacking"
	Done, Total int64  // bytes; what moves and is unpacked then counts for both
}

// Percent is from 0 to 100.
func (p Progress) Percent() int {
	if p.Total <= 0 {
		return 0
	}
	return int(100 * min(p.Done, p.Total) / p.Total)
}

// ProgressPreparer is implemented by drivers that can say how far a Prepare is.
type ProgressPreparer interface {
	// PrepareReporting is Prepare that calls report now and then, often but one call at a time, unless there is nothing
	// to do. Done never goes back, and Total stays. report returns soon; nil is none.
	PrepareReporting(ctx context.Context, spec Spec, report func(Progress)) error
}

// Scoped is implemented by drivers that see only what runs on one machine or one engine. Drivers with the same scope see the
// same nodes at the same addresses; nodes of another scope are unknown to them, not gone.
type Scoped interface {
	// Scope names what the driver sees, for people too; it stays the same over restarts. ErrUnavailable when it cannot be told now.
	Scope(ctx context.Context) (string, error)
}

// Inward is implemented by drivers whose nodes can reach programs on the machine of the agent.
type Inward interface {
	// Inward is the address of that machine as nodes see it, without a port; it stays the same as long as there are nodes. A
	// *fault.Error with Unsupported when they cannot reach it.
	Inward(ctx context.Context) (string, error)
}

// Watcher is implemented by drivers that notice changes by themselves. A fleet's id is sent soon after one of its
// nodes started or ended; it is a hint to look, never the truth, and may be lost. The channel closes with ctx.
type Watcher interface {
	Watch(ctx context.Context) (<-chan FleetID, error)
}

// LogOptions selects lines of a node's output.
type LogOptions struct {
	Tail   int       // the last so many lines; 0: all that is kept
	Follow bool      // go on until the node ends or ctx does
	Since  time.Time // zero: from the start
}

// Logger is implemented by drivers that keep their nodes' output. Lines of stdout and stderr come in the order they
// were written, each "RFC3339Nano-time stream text\n" with stream "out" or "err". ErrNoNode when nothing is kept.
type Logger interface {
	Logs(ctx context.Context, id NodeID, opts LogOptions) (io.ReadCloser, error)
}

// Tails takes the ends of the output of nodes that a driver removes: they outlive the nodes.
type Tails interface {
	// Keep keeps the end of a node's output, lines as Logger has them, oldest first, about TailBytes of it. Nothing to keep
	// is no error, and leaves what was kept before. A driver removes a node whatever Keep says. kind is that of its Spec: what
	// jobs leave behind takes no room from what nodes do.
	Keep(id NodeID, kind Kind, lines io.Reader) error
}

// TailBytes is how much of a node's output is kept.
const TailBytes = 256 << 10

// Tail is what is kept of a node that was removed.
type Tail struct {
	ID    NodeID
	At    time.Time // when it was removed
	Bytes int64
}

// Copier is implemented by drivers that read files out of a node, also out of one that has ended. Nothing is written into
// nodes, ever. The answer is a tar stream: the file or folder at path, under its last name, with all that is below it on the
// same file system; a link at path itself is followed. Errors: ErrNoNode, also of a node that has ended and whose files were in its memory;
// fault.NotFound when there is no such path.
type Copier interface {
	CopyOut(ctx context.Context, id NodeID, path string) (io.ReadCloser, error)
}

// Window is the size of a terminal in characters.
type Window struct{ Columns, Rows int }

// ExecSpec is a command to run inside a node.
type ExecSpec struct {
	Command []string
	Env     map[string]string
	TTY     bool
	Window  Window        // with TTY: the size at the start
	Resize  <-chan Window // with TTY: later sizes; may be nil
	Stdin   io.Reader     // nil: none
	Stdout  io.Writer
	Stderr  io.Writer // with TTY all output is on Stdout
}

// Execer is implemented by drivers that can run a command beside a node's own processes, with its root, environment
// and limits. It returns the command's exit code; an error means that it did not run or the connection broke.
type Execer interface {
	Exec(ctx context.Context, id NodeID, spec ExecSpec) (int, error)
}
