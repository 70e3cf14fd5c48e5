// Package console is the agent's HTTP API on its unix socket: it turns requests into calls of the orchestrator and
// what the orchestrator knows into the wire types of package api, where the routes are listed. It holds no state.
// Streams wait for Orchestrator.Changed, never for a timer.
package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/orchestrator"
)

// Orchestrator is what the console asks; *orchestrator.Orchestrator is one.
type Orchestrator interface {
	Archive
	Submit(ctx context.Context, r orchestrator.Request) (orchestrator.Operation, error)
	Plan(ctx context.Context, r orchestrator.Request) (orchestrator.Plan, error)
	Steer(ctx context.Context, k orchestrator.Key, w orchestrator.Word) ([]string, error)
	Operation(ctx context.Context, k orchestrator.Key, id string) (orchestrator.Operation, error)
	Traffic(ctx context.Context, k orchestrator.Key) (orchestrator.Reading, error)
	Status(ctx context.Context, k orchestrator.Key) (orchestrator.Status, error)
	Keys() []orchestrator.Key
	Changed() <-chan struct{}
	Logs(ctx context.Context, k orchestrator.Key, node string, o orchestrator.LogOptions) (io.ReadCloser, error)
	CopyOut(ctx context.Context, k orchestrator.Key, node, path string) (io.ReadCloser, error)
	Previous(ctx context.Context, k orchestrator.Key) ([]orchestrator.Tail, error)
	Exec(ctx context.Context, k orchestrator.Key, node string, s orchestrator.ExecSpec) (int, error)
	RunTask(ctx context.Context, r orchestrator.TaskRequest) (orchestrator.Task, error)
	StopTask(ctx context.Context, k orchestrator.Key, id, by string) error
	Task(ctx context.Context, k orchestrator.Key, id string) (orchestrator.Task, error)
	Tasks(ctx context.Context, k orchestrator.Key, job string) ([]orchestrator.Task, error)
	TaskOutput(ctx context.Context, k orchestrator.Key, id string, since time.Time) (io.ReadCloser, error)
	MissingFiles(ctx context.Context, digests []string) ([]string, error)
	PutFile(ctx context.Context, digest string, r io.Reader) error
	Drift(ctx context.Context, k orchestrator.Key, node string) (orchestrator.Drifted, error)
}

// Images is the agent's image store, to which clients upload what it lacks.
type Images interface {
	Has(digest string) bool
	// Write stores a blob whose digest and size must be those given.
	Write(ctx context.Context, b api.Blob, r io.Reader) error
	// Tag lists uploaded blobs as an image.
	Tag(ctx context.Context, digest, name string) error
}

// Options are what a Server needs; Standing, Leads, Forget, ForgetHost, Hosts, DrainHost, UserOf, Log and Now may be nil.
type Options struct {
	Orchestrator Orchestrator
	Images       Images
	Agent        api.Agent // what GET /v1/agent answers, together with what Standing adds
	Standing     func(ctx context.Context, a *api.Agent)
	Leads        func(ctx context.Context) error                 // why the agent cannot answer for apps now: another one leads; nil: it can
	Forget       func(ctx context.Context, ask api.Forget) error // takes it that an edge, such as the router of another agent, serves nobody any more
	// ForgetHost takes it that a machine is gone for good with all that ran there.
	ForgetHost func(ctx context.Context, ask api.ForgetHost) (api.Forgotten, error)
	// Hosts lists the machines that apps spread their nodes over; DrainHost has the nodes of one replaced on others.
	Hosts     func(ctx context.Context) ([]orchestrator.HostStatus, error)
	DrainHost func(ctx context.Context, ask api.DrainHost) error
	// UserOf names a user by the id that the agent sees, and says whether it is the machine's root; nil: "uid 1000", not root.
	UserOf func(uid int) (name string, root bool)
	Stop   func() // begins the agent's end; returns at once
	Log    *slog.Logger
	Now    func() time.Time
}

// Server answers the API.
type Server struct {
	Options
	mux *http.ServeMux
}

// New returns a server with its routes.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{Options: o, mux: http.NewServeMux()}
	for pattern, h := range s.routes() {
		if strings.Contains(pattern, " /v1/apps") {
			h = s.leading(h)
		}
		if strings.Contains(pattern, "{app}") {
			h = ofApp(h)
		}
		s.mux.Handle(pattern, s.handle(h))
	}
	return s
}

func (s *Server) routes() map[string]handler {
	const app = "/v1/apps/{app}/{env}/"
	return map[string]handler{
		"GET /v1/agent":                     s.agent,
		"POST /v1/agent/stop":               s.stop,
		"GET /v1/apps":                      s.apps,
		"GET " + app + "status":             s.status,
		"GET " + app + "traffic":            s.traffic,
		"POST " + app + "operations":        s.submit,
		"GET " + app + "operations":         s.history,
		"GET " + app + "operations/{id}":    s.operation,
		"POST " + app + "plan":              s.plan,
		"POST " + app + "steer":             s.steer,
		"GET " + app + "events":             s.events,
		"GET " + app + "releases":           s.releases,
		"GET " + app + "releases/{id}":      s.record,
		"GET " + app + "diff":               s.diff,
		"GET " + app + "stats":              s.stats,
		"GET " + app + "previous":           s.previous,
		"GET " + app + "nodes/{node}/files": s.files,
		"GET " + app + "nodes/{node}/logs":  s.logs,
		"POST " + app + "nodes/{node}/exec": s.exec,
		"POST " + app + "tasks":             s.runTask,
		"GET " + app + "tasks":              s.tasks,
		"GET " + app + "tasks/{id}":         s.task,
		"POST " + app + "tasks/{id}/stop":   s.stopTask,
		"GET " + app + "tasks/{id}/output":  s.taskOutput,
		"POST /v1/apps/files/missing":       s.missingFiles,
		"PUT /v1/apps/files/{digest}":       s.putFile,
		"GET " + app + "nodes/{node}/drift": s.drift,
		"POST /v1/router/forget":            s.forget,
		"POST /v1/hosts/forget":             s.forgetHost,
		"GET /v1/hosts":                     s.hosts,
		"POST /v1/hosts/drain":              s.drainHost,
		"POST /v1/images/missing":           s.missing,
		"PUT /v1/blobs/{digest}":            s.putBlob,
		"PUT /v1/images/{digest}":           s.putImage,
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// shutdownTime bounds how long the end waits for answers under way.
const shutdownTime = 2 * time.Second

// Serve answers on l until ctx ends, then ends streams, lets short answers finish and returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       s.called,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve the API: %w", err)
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := srv.Shutdown(bounded); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("serve the API: stop: %w", err)
	}
	return srv.Close()
}
