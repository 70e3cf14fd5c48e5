package embedded

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/bootandshoot/release/internal/pairfile"
	"github.com/bootandshoot/release/internal/pause"
	"github.com/bootandshoot/release/router"
)

const (
	tidyEvery    = 250 * time.Millisecond
	flushTime    = 2 * time.Second        // for the last spans
	lockPatience = 300 * time.Millisecond // somebody may hold the lock for an instant to see whether it is free
)

// process is a router process: an engine, its control API, and its place in a chain of upgrades.
type process struct {
	cfg     Config
	log     *slog.Logger
	e       *engine
	edge    string  // stable over restarts
	program program // that this process runs
	started time.Time

	lock    *os.File
	control *net.UnixListener
	metrics *net.TCPListener // nil: none
	api     *http.Server

	op     sync.Mutex // one Apply, upgrade or stop at a time
	handed bool       // a successor has the sockets; guarded by op

	mu       sync.Mutex
	instance string
	pred     *predecessor // still finishing, or nil

	tally sync.Mutex // held while a predecessor's counters become this process's own: nobody reads them twice, or not at all
	seen  lastShown

	chores []chore // what could not be written at the start; guarded by op once begin is over

	stopping  chan struct{} // closed by stop
	stopOnce  sync.Once
	successor chan net.Conn // gets the connection to the successor after a handover

	leave func(good bool) // ends the companion

	processors *processors
	writes     *pairfile.Queue // nil where there is none
}

// Run is the router process itself: it serves until ctx ends, SIGTERM or SIGINT comes, Stop is called, or an upgrade
// has handed over and the last connection ended. SIGHUP opens the access log anew and, when the program's file is another
// one by now, hands over to it. It returns fault.Busy when a router already runs in the folder.
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if !filepath.IsAbs(cfg.Dir) {
		return fmt.Errorf("start router: state folder %q is not an absolute path", cfg.Dir)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("start router: %w", err)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // from the beginning: it would end the process
	defer signal.Stop(hup)
	in, err := inherited()
	if err != nil {
		return err
	}
	p, err := newProcess(ctx, cfg, in)
	if err != nil {
		return err
	}
	defer p.close()
	sweeping, stop := context.WithCancel(context.Background()) // to the last connection, longer than ctx
	defer stop()
	if err := p.begin(sweeping, in); err != nil {
		return err
	}
	return p.loop(ctx, hup)
}

func newProcess(ctx context.Context, cfg Config, in *inheritance) (_ *process, err error) {
	p := &process{
		cfg: cfg, log: cfg.Log, e: newEngine(cfg), started: time.Now(), instance: newInstance(),
		stopping: make(chan struct{}), successor: make(chan net.Conn, 1), processors: newProcessors(),
	}
	p.e.put = p.putAside
	if p.writes, err = pairfile.NewQueue(p.putAside); err == nil {
		p.e.put = p.writes.Put
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start router: %w", err)
	}
	p.program = programOf(exe)
	if in != nil {
		p.lock, p.control, p.metrics, p.instance = in.lock, in.control, in.metrics, in.Instance
	} else if p.lock, err = lockPatiently(ctx, cfg.Dir); err != nil {
		return nil, err
	}
	p.nameEdge(in)
	if p.e.access, err = openAccessLog(cfg); err != nil && !p.e.served() {
		return nil, err
	}
	p.insist("the access log", err, p.reopenAccess)
	if p.e.tracer, err = newTracer(ctx, cfg); err != nil {
		return nil, err
	}
	return p, nil
}

// begin serves: first the table on disk, then the control API. A successor accepts nothing before its predecessor was told: until then
// that one may give it up and kill it. What connects meanwhile waits at the sockets, which both have.
func (p *process) begin(ctx context.Context, in *inheritance) (err error) {
	go p.e.sweeper.run(ctx)
	if in != nil {
		p.e.listeners.inherit(in.routes)
		p.e.listeners.given, p.e.listeners.held = in.given, true
	} else if p.e.listeners.given, err = activated(); err != nil {
		return err
	}
	if err := p.e.restore(); err != nil {
		return err
	}
	if in == nil {
		p.sweepFolder()
	}
	if err := p.listenMetrics(); err != nil {
		return err
	}
	if p.control == nil {
		if err := p.openControl(); err != nil && p.e.current.Load() == nil {
			return err
		} else if err != nil {
			p.insist("the control socket", err, p.openLateControl)
		}
	}
	if in != nil {
		p.pred = newPredecessor(in.peer, p.log)
		p.e.follows.Store(true)
		in.await()
		p.e.takeTurn()
		in.ready() // before the first table comes, which would be told the predecessor on the same socket
		go p.attendPredecessor(ctx)
	}
	p.serveMetrics()
	p.insist("the process id's file", p.writePID(), p.writePID) // not before the predecessor hands over: it may still go on
	p.api = &http.Server{Handler: p.routes(), ErrorLog: serverLog(p.log), ReadHeaderTimeout: readHeadTimeout}
	if p.control != nil {
		p.serveControl()
	}
	go p.catchUp(ctx)
	if in != nil && in.idle != nil {
		go p.e.receiveIdle(in.idle)
	}
	p.leave = p.accompany()
	if err := notify("READY=1"); err != nil {
		p.log.Warn("router serves, and could not say so", "error", err)
	}
	p.log.Info("router serves", "dir", p.cfg.Dir, "edge", p.edge, "instance", p.instance, "listen", p.e.listeners.addresses())
	return nil
}

// listenMetrics listens for Prometheus where the configuration says.
func (p *process) listenMetrics() error {
	if p.cfg.MetricsListen == "" {
		return nil
	}
	if p.metrics == nil {
		l, err := p.e.listeners.listenTCP(p.cfg.MetricsListen)
		if err != nil {
			return fmt.Errorf("listen for metrics: %w", err)
		}
		p.metrics = l
	}
	return nil
}

func (p *process) serveMetrics() {
	if p.metrics == nil {
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", p.metricsHandler())
	server := &http.Server{Handler: mux, ErrorLog: serverLog(p.log), ReadHeaderTimeout: readHeadTimeout}
	go func() { _ = server.Serve(p.metrics) }()
}

// loop keeps house until the process has to end, and ends it in order.
func (p *process) loop(ctx context.Context, hup <-chan os.Signal) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	look := time.NewTicker(sweepEvery)
	defer look.Stop()
	for {
		select {
		case <-tick.C:
			p.e.tidy()
		case now := <-look.C:
			p.processors.look(now)
		case <-hup:
			p.reload(ctx)
		case conn := <-p.successor:
			return p.finish(ctx, conn)
		case <-p.stopping:
			if p.awaitUpgrade() {
				p.stopSuccessor(ctx)
				return p.finish(ctx, <-p.successor)
			}
			return p.shutdown(p.cfg.StopTimeout)
		case <-ctx.Done():
			p.stop()
		}
	}
}

// stop makes loop end the process.
func (p *process) stop() { p.stopOnce.Do(func() { close(p.stopping) }) }

func (p *process) isStopping() bool {
	select {
	case <-p.stopping:
		return true
	default:
		return false
	}
}

// close lets go of what the process holds. After a handover the names on disk are the successor's.
func (p *process) close() {
	if p.api != nil {
		p.endAPI()
	}
	if p.control != nil {
		_ = p.control.Close()
	}
	if p.metrics != nil {
		_ = p.metrics.Close()
	}
	if !p.handed && p.lock != nil && p.api != nil {
		_ = os.Remove(filepath.Join(p.cfg.Dir, socketName))
		_ = os.Remove(filepath.Join(p.cfg.Dir, pidName))
	}
	p.processors.restore()
	p.e.certs.Close()
	if p.writes != nil {
		_ = p.writes.Close()
	}
	p.e.access.close()
	p.e.tracer.close(flushTime)
	if p.lock != nil {
		_ = p.lock.Close()
	}
	if s := p.e.successor.Load(); s != nil {
		s.close()
	}
}

// endAPI ends the control API; after a handover, when it has passed on what it was asked.
func (p *process) endAPI() {
	if p.handedOver() {
		ctx, cancel := context.WithTimeout(context.Background(), apiPatience)
		defer cancel()
		_ = p.api.Shutdown(ctx)
	}
	_ = p.api.Close()
}

// total is everything counted by this process and those before it, with the identity of the edge.
func (p *process) total(ctx context.Context) snapshot {
	p.tally.Lock()
	s := p.e.snapshot()
	p.mu.Lock()
	pred, instance := p.pred, p.instance
	p.mu.Unlock()
	p.tally.Unlock()
	if pred != nil {
		before := pred.refresh(ctx)
		s = s.merge(before)
		s.Drained = false
		if !before.Drained && before.Edge.Confirmed.Compare(s.Edge.Confirmed) < 0 {
			s.Edge.Confirmed = before.Edge.Confirmed // it may still send requests by that table
		}
	}
	s.Edge.ID, s.Edge.Instance = p.edge, instance
	return s
}

func (p *process) observe(ctx context.Context) router.Observation {
	s := p.total(ctx)
	c := p.e.current.Load()
	if c == nil || s.Edge.Confirmed.Compare(c.table.Version) >= 0 {
		s = p.seen.visible(s, c, time.Now())
	} // else a predecessor may send requests to nodes that have none now and are not in the table: all are shown
	return router.Observation{At: time.Now(), Edges: []router.Edge{s.Edge}}
}

func (p *process) status(ctx context.Context) Status {
	exe, _ := os.Executable()
	own := p.e.snapshot()
	s := Status{
		PID: os.Getpid(), Version: p.cfg.Version, Exe: exe, Started: p.started, Edge: p.edge, Instance: p.instance,
		Listeners: own.Edge.Listeners, Connections: own.Connections, InFlight: int(p.e.inFlight.Load()), Draining: p.e.draining.Load(),
	}
	if c := p.e.current.Load(); c != nil {
		s.Table = &c.table.Version
	}
	if pred := p.predecessor(); pred != nil {
		s.Predecessor = pred.status(ctx)
	}
	return s
}

func lockPatiently(ctx context.Context, dir string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		f, err := lockDir(dir)
		if err == nil {
			return f, nil
		}
		if pause.For(ctx, lockPatience/10) != nil {
			return nil, err
		}
	}
}

func newInstance() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
