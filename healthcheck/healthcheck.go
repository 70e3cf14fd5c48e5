package healthcheck

import (
	"context"
	"time"
)

// Verdict is what the gate thinks of a node.
type Verdict string

const (
	Starting  Verdict = "starting"  // has not been healthy yet, and still has time
	Healthy   Verdict = "healthy"   // passes its probes
	Unhealthy Verdict = "unhealthy" // was healthy and has failed UnhealthyAfter probes in a row
	Failed    Verdict = "failed"    // was not healthy within StartWithin; final
)

// HTTP asks with GET http://address/path. Redirects are answers, not followed.
type HTTP struct {
	Path   string
	Host   string // the Host header; empty: the address
	Status []int  // the good codes; empty: every 2xx
}

// GRPC asks the standard health service (grpc.health.v1) without TLS.
type GRPC struct {
	Service string // empty: the server as a whole
}

// Probe says how a node is asked. Exactly one field is set.
type Probe struct {
	HTTP *HTTP
	TCP  bool // a connection that opens is health
	GRPC *GRPC
	Exec []string // a command in the node; exit code 0 is health
}

// Params are the numbers of a health check. A zero field takes its default.
type Params struct {
	Interval       time.Duration // between two probes of a node that has started; 1 s
	Timeout        time.Duration // of one probe; 500 ms
	HealthyAfter   int           // successes in a row that make a node healthy; 2
	UnhealthyAfter int           // failures in a row that make a healthy node unhealthy; 3
	StartWithin    time.Duration // time from its start to its first being healthy; 60 s
}

// WithDefaults fills the zero fields.
func (p Params) WithDefaults() Params {
	if p.Interval <= 0 {
		p.Interval = time.Second
	}
	if p.Timeout <= 0 {
		p.Timeout = 500 * time.Millisecond
	}
	if p.HealthyAfter <= 0 {
		p.HealthyAfter = 2
	}
	if p.UnhealthyAfter <= 0 {
		p.UnhealthyAfter = 3
	}
	if p.StartWithin <= 0 {
		p.StartWithin = time.Minute
	}
	return p
}

// Result is the answer to one probe.
type Result struct {
	At      time.Time     // when the answer was there
	OK      bool          // the answer is that of a healthy node
	Message string        // why not: what was asked, where, and what came back; empty when OK
	Latency time.Duration // from asking to the answer
}

// State is what is known of a node's health.
type State struct {
	Verdict Verdict
	Since   time.Time // when the verdict began; while starting, when the node was started
	Streak  int       // equal results in a row, the newest last: above 0 successes, below 0 failures
	Last    Result    // the newest result; zero before the first
}

// ExecFunc runs a command in a node and returns its exit code and the end of its output. It must return soon
// after ctx ends.
type ExecFunc func(ctx context.Context, command []string) (exitCode int, output string, err error)

// Target is a node to probe.
type Target struct {
	Key     string // names the node; a state belongs to a key
	Address string // host:port to ask; not used by Exec
	Port    int    // the first port that the image declares, for messages; 0 when there is none
	Probe   Probe
	Params  Params
	Started time.Time // when the node was started: StartWithin counts from here; zero: from the first Set
	Initial Verdict   // what an earlier prober last said of the node; empty: Starting
	Exec    ExecFunc  // for Probe.Exec
}
