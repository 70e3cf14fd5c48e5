package orchestrator

import (
	"time"

	"github.com/bootandshoot/release/config"
)

// Request asks for an operation or steers the one under way.
type Request struct {
	Kind       Kind
	Key        Key
	By         string      // who, from where: "ann@laptop"
	Config     *config.App // launch, up: the resolved configuration; also taken by cutover and rollback when given
	Image      string      // launch, up: digest
	Release    string      // cutover: "" is the newest launched; rollback: "" is the last that completed before
	Percent    int         // cutover: hold at this share; 0: the app's remaining steps to 100
	Size       int         // scale
	Nodes      []string    // replace: names or unique prefixes
	Force      bool        // cutover: also without enough healthy nodes
	KeepFailed bool        // launch, up: do not shoot a fleet that failed its gate
}

// Status is one app in one environment as it is now.
type Status struct {
	State   State
	Routes  []RouteStatus
	Traffic map[string]Rates // by fleet id, over the last seconds
	Nodes   map[string]NodeStatus
	Drained map[string]int // requests in flight by fleet id
}

// RouteStatus is the route as all edges confirmed it.
type RouteStatus struct {
	Role    string
	Listen  string
	Version string         // "epoch.seq"
	Error   string         // why it does not serve, if so
	Weights map[string]int // percent by release
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
	InFlight int
}
