package embedded

import (
	"log/slog"
	"os"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded/certs"
)

// Config is what the router process is started with. Only Dir is required.
type Config struct {
	// Dir is the state folder; it is made with mode 0700. One router runs in a folder.
	Dir string
	// MetricsListen is where Prometheus may scrape /metrics, "127.0.0.1:9464"; "" is nowhere but the control socket.
	MetricsListen string
	// AccessLog is a file that gets one JSON object a request; "" is off.
	AccessLog string
	// AccessLogBytes is the size at which the access log is rotated (default 64 MiB), AccessLogKeep how many old
	// ones stay (default 3).
	AccessLogBytes int64
	AccessLogKeep  int
	// AccessLogSample is the share of requests that get a line, from above 0 to 1 (default 1). Those that failed all do.
	AccessLogSample float64
	// OTLP is the endpoint that spans are exported to over HTTP, "http://127.0.0.1:4318"; "" is off. TraceSample is the
	// share of requests without a trace of their client's that get one (default 0).
	OTLP        string
	TraceSample float64
	// IdleTimeout ends a client's idle keep-alive connection (default 2 m).
	IdleTimeout time.Duration
	// StopTimeout is how long requests may go on after a stop was asked for (default 30 s). Long connections are closed after it; while
	// they end, other requests may go on as well: for CloseWithin and 3 s more at most.
	StopTimeout time.Duration
	// CloseWithin is the time over which a process that ends closes the long connections that are left (default 10 s, as at a cutover).
	CloseWithin time.Duration
	// HandoffTimeout bounds how long the predecessor of an upgrade keeps its last connections (default 1 h). Long ones are closed after it.
	HandoffTimeout time.Duration
	// NodeTimeout bounds the wait for the header of a node's answer (default 5 m).
	NodeTimeout time.Duration
	// CertStorage holds accounts and certificates got by ACME, instead of the state folder: several edges share them.
	CertStorage certs.Storage
	// Companion brings tables from elsewhere; nil: they come over the control socket only.
	Companion router.Companion
	// Version is the version of the program, for Status.
	Version string
	// Args are the arguments with which an upgrade starts the successor (default: this process's own).
	Args []string
	// Log gets the process's own log (default: JSON on stderr).
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	setDefault(&c.AccessLogBytes, 64<<20)
	setDefault(&c.AccessLogKeep, 3)
	setDefault(&c.AccessLogSample, 1)
	setDefault(&c.IdleTimeout, 2*time.Minute)
	setDefault(&c.StopTimeout, 30*time.Second)
	setDefault(&c.CloseWithin, 10*time.Second)
	setDefault(&c.HandoffTimeout, time.Hour)
	setDefault(&c.NodeTimeout, 5*time.Minute)
	if c.Args == nil {
		c.Args = os.Args[1:]
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	return c
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Status says what a router process is and does.
type Status struct {
	PID         int                    `json:"pid"`
	Version     string                 `json:"version"` // of the program
	Exe         string                 `json:"exe"`
	Started     time.Time              `json:"started"`
	Edge        string                 `json:"edge"`     // stable over restarts
	Instance    string                 `json:"instance"` // changes when counters begin anew
	Table       *router.Version        `json:"table,omitempty"`
	Listeners   []router.ListenerState `json:"listeners,omitempty"`
	Connections int                    `json:"connections"`           // from clients, to this process alone
	InFlight    int                    `json:"in_flight"`             // requests in this process alone
	Draining    bool                   `json:"draining,omitempty"`    // it handed over or was told to stop
	Predecessor *Status                `json:"predecessor,omitempty"` // still finishing its connections after an upgrade
}
