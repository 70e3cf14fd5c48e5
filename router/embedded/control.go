package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/pairfile"
	"github.com/bootandshoot/release/router"
)

// routes is the control API. It is served on the control socket, and to the successor after a handover; what reaches
// the old process on an old control connection after that is passed on.
func (p *process) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+applyPath, p.serveApply)
	mux.HandleFunc("GET /v1/applied", respond(func(*http.Request) (any, error) { return p.e.applied() }))
	mux.HandleFunc("GET /v1/observe", respond(func(r *http.Request) (any, error) { return p.observe(r.Context()), nil }))
	mux.HandleFunc("GET /v1/status", respond(func(r *http.Request) (any, error) { return p.status(r.Context()), nil }))
	mux.HandleFunc("POST /v1/cut", respond(p.serveCut))
	mux.HandleFunc("POST /v1/upgrade", respond(p.serveUpgrade))
	mux.HandleFunc("POST /v1/stop", respond(func(*http.Request) (any, error) { p.stop(); return struct{}{}, nil }))
	mux.Handle("GET /metrics", p.metricsHandler())
	return p.passOnAfterHandover(p.aside(mux))
}

// Paths of what may be asked twice.
const (
	applyPath  = "/v1/apply"
	followPath = "/v1/follow"
)

// smallTable is a table, in bytes, that is compiled in no more time than a few requests take.
const smallTable = 16 << 10

// aside answers while requests keep a processor of their own: a large table is compiled, a reading of a thousand nodes is encoded.
func (p *process) aside(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.ContentLength > smallTable {
			defer p.processors.begin()()
		}
		next.ServeHTTP(w, r)
	})
}

// putAside waits for the disk while requests keep a processor of their own. It is for where a thread must wait.
func (p *process) putAside(name string, b []byte) error {
	defer p.processors.begin()()
	return pairfile.PutWaiting(name, b)
}

// successorRoutes is what only the successor asks for.
func (p *process) successorRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+followPath, respond(p.serveFollow))
	mux.HandleFunc("GET /v1/snapshot", respond(func(r *http.Request) (any, error) { return p.total(r.Context()), nil }))
	mux.HandleFunc("GET /v1/status", respond(func(r *http.Request) (any, error) { return p.status(r.Context()), nil }))
	mux.HandleFunc("POST /v1/cut", respond(p.serveCut))
	mux.HandleFunc("POST /v1/stop", respond(func(*http.Request) (any, error) { p.stop(); return struct{}{}, nil }))
	return p.aside(mux)
}

func (p *process) passOnAfterHandover(own http.Handler) http.Handler {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return dialControl(ctx, p.cfg.Dir) }
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "router" },
		Transport: &http.Transport{DialContext: dial},
		ErrorLog:  serverLog(p.log),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.handedOver() {
			w.Header().Set("Connection", "close")
			proxy.ServeHTTP(w, r)
			return
		}
		own.ServeHTTP(w, r)
	})
}

func (p *process) serveApply(w http.ResponseWriter, r *http.Request) {
	respond(func(r *http.Request) (any, error) {
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
		if err != nil {
			return nil, fault.New(fault.Invalid, "read routing table: %w", err)
		}
		t, err := router.Decode(b)
		if err != nil {
			return nil, err
		}
		return struct{}{}, p.apply(r.Context(), t, b)
	})(w, r)
}

// apply makes the table effective here, then in the predecessors that still have connections. After a handover it goes to
// the successor, and op is free for that: the successor comes back with the same table.
func (p *process) apply(ctx context.Context, t router.Table, b []byte) error {
	p.op.Lock()
	if p.handed {
		p.op.Unlock()
		c := NewClient(p.cfg.Dir)
		defer c.Close()
		return c.Apply(ctx, t)
	}
	defer p.op.Unlock()
	if err := p.e.place(ctx, t, b); err != nil {
		return err
	}
	return p.passOn(ctx, t)
}

// applyAlone is apply with op held, for a table that nobody has looked at.
func (p *process) applyAlone(ctx context.Context, t router.Table) error {
	if p.handed {
		return fault.New(fault.Busy, "apply table %s: another process has taken over", t.Version)
	}
	if err := p.e.apply(ctx, t); err != nil {
		return err
	}
	return p.passOn(ctx, t)
}

// passOn makes the table effective in the predecessor. One that is gone needs none. One that does not answer gets it when it
// does again, and is not waited for: until then the edge confirms the table that the predecessor has.
func (p *process) passOn(ctx context.Context, t router.Table) error {
	pred := p.predecessor()
	if pred == nil {
		return nil
	}
	err := pred.follow(ctx, t)
	if errors.Is(err, errSilent) {
		p.log.Warn("the process before this one does not answer: it gets the table when it does", "pid", pred.pid, "table", t.Version.String())
		return nil
	}
	return err
}

// serveFollow does without op: whoever holds it here may be waiting for the successor that asks. Of two tables that come at
// once the newer one stays.
func (p *process) serveFollow(r *http.Request) (any, error) {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxMessage))
	if err != nil {
		return nil, err
	}
	t, err := router.Decode(b)
	if err != nil {
		return nil, err
	}
	if err := p.e.follow(t); err != nil {
		return nil, err
	}
	return struct{}{}, p.passOn(r.Context(), t)
}

func (p *process) serveCut(r *http.Request) (any, error) {
	var in cutRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, maxMessage)).Decode(&in); err != nil {
		return nil, fault.New(fault.Invalid, "read request: %w", err)
	}
	out := cutAnswer{Cut: p.e.cut(in.Fleet, in.Node)}
	if pred := p.predecessor(); pred != nil {
		before := new(cutAnswer)
		if err := pred.ask(r.Context(), http.MethodPost, "/v1/cut", in, before, nil); err == nil {
			out.Cut += before.Cut
		}
	}
	return out, nil
}

func (p *process) serveUpgrade(r *http.Request) (any, error) {
	var in upgradeRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, maxMessage)).Decode(&in); err != nil {
		return nil, fault.New(fault.Invalid, "read request: %w", err)
	}
	return p.upgrade(r.Context(), in.Exe)
}

// respond is a handler that answers JSON, errors as wireErrors.
func respond(do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		out, err := do(r)
		if err != nil {
			var problems wireErrors
			status, problems = encodeError(err)
			out = problems
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(out)
	}
}
