package haproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// edge is one HAProxy.
type edge struct {
	Edge
	console console
	folder  folder
	log     *slog.Logger

	mu    sync.Mutex
	known map[int]known // by pid
	sums  sums
	table cachedTable
	last  router.Edge // as it was observed last
	heard time.Time   // and when
	gone  bool        // a person says that it is, for good

	// Guarded by Backend.mu:
	committed *packed               // the last table that this agent wrote to disk
	closings  map[[2]string]closing // by fleet and node
	stamps    map[string]string     // of certificates, by link
}

// known is what is remembered of a worker between two looks at it.
type known struct {
	worker string // pid and start
	file   string // of its map
	notes  notes
}

func newEdge(e Edge, log *slog.Logger) *edge {
	return &edge{
		Edge: e, console: console{e.Socket}, folder: folder{strings.TrimRight(e.Folder, "/")}, log: log.With("edge", e.Name),
		known: map[int]known{}, sums: newSums(), heard: time.Now(), committed: &packed{}, closings: map[[2]string]closing{}, stamps: map[string]string{},
	}
}

// information is what a worker says about itself ("show info").
type information struct {
	worker   string // pid and start: another one after a restart
	stopping bool
}

func (w worker) information(ctx context.Context) (information, error) {
	out, err := w.dump(ctx, "show info")
	if err != nil {
		return information{}, err
	}
	return w.inform(out)
}

func (w worker) inform(out string) (information, error) {
	var i information
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch name {
		case "Start_time_sec":
			i.worker = strconv.Itoa(w.pid) + "-" + value
		case "Stopping":
			i.stopping = value != "0"
		}
	}
	if i.worker == "" {
		return information{}, fmt.Errorf("ask haproxy at %s what it is: %.100q", w.address, out)
	}
	return i, nil
}

// errForeign: the worker knows nothing of us.
var errForeign = errors.New("it does not read")

// look reads what a worker has.
func (e *edge) look(ctx context.Context, pid int) (*layout, error) {
	l, _, err := e.lookFor(ctx, pid)
	return l, err
}

// lookFor is look, and the answers to more commands at the same time.
func (e *edge) lookFor(ctx context.Context, pid int, more ...string) (*layout, []string, error) {
	w, k := worker{e.console, pid}, e.remembered(pid)
	commands := append([]string{"show stat -1 7 -1", "show info"}, more...)
	if k.file != "" {
		commands = append(commands, "get map "+k.file+" v")
	}
	out, err := w.dumps(ctx, commands...)
	if err != nil {
		return nil, nil, err
	}
	rows, err := parseStat(out[0])
	if err != nil {
		return nil, nil, err
	}
	info, err := w.inform(out[1])
	if err != nil {
		return nil, nil, err
	}
	version, sum := versionIn(out[len(out)-1])
	if k.file == "" || k.worker != info.worker || version != k.notes.version || sum != k.notes.digest {
		if k, err = e.read(ctx, w, info); err != nil {
			return nil, nil, err
		}
	}
	l := newLayout()
	l.place(rows)
	l.notes = k.notes
	return &l, out[2 : 2+len(more)], nil
}

// read reads a worker's notes.
func (e *edge) read(ctx context.Context, w worker, info information) (known, error) {
	out, err := w.dump(ctx, "show map")
	if err != nil {
		return known{}, err
	}
	k := known{worker: info.worker, file: mapNamed(out, e.folder.path)}
	if k.file == "" {
		return known{}, fault.New(fault.Failed, "use haproxy at %s as router: %w %s", e.Socket, errForeign, e.ConfigFile()).
			WithHint("start it with one more -f, after all others: -f %s", e.ConfigFile())
	}
	if out, err = w.dump(ctx, "show map "+k.file); err != nil {
		return known{}, err
	}
	lines, err := parseMap(out)
	if err != nil {
		return known{}, err
	}
	if k.notes, err = readNotes(lines); err != nil {
		return known{}, err
	}
	e.remember(w.pid, k)
	return k, nil
}

// versionIn finds the value in the answer to "get map FILE v"; none gives zeroes.
func versionIn(out string) (router.Version, string) {
	_, rest, ok := strings.Cut(out, `value="`)
	if !ok {
		return router.Version{}, ""
	}
	text, _, _ := strings.Cut(rest, `"`)
	v, sum, err := parseVersion(text)
	if err != nil {
		return router.Version{}, ""
	}
	return v, sum
}

func (e *edge) remembered(pid int) known {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.known[pid]
}

func (e *edge) remember(pid int, k known) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known[pid] = k
}

// forget drops what is remembered of workers that have ended.
func (e *edge) forget(living []int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for pid := range e.known {
		if !slices.Contains(living, pid) {
			delete(e.known, pid)
		}
	}
}

// follow brings the current worker from a layout to the table, without a reload.
func (e *edge) follow(ctx context.Context, pid int, l *layout, t *packed) error {
	w := worker{e.console, pid}
	p := arrange(l, t.table)
	m := p.moves(l, true)
	if l.notes.is(t) && m.none() {
		return nil
	}
	if err := w.tell(ctx, m.bring, harmless); err != nil {
		return err
	}
	if err := e.decide(ctx, w, p, t, p.keep(l)); err != nil || len(m.send) == 0 {
		return err
	}
	// Streams that were sent to a slot by the map of before are with their server when the first barrier is over, and are
	// counted there when the second one is.
	if err := w.barrier(ctx); err != nil {
		return err
	}
	if err := w.tell(ctx, m.send, harmless); err != nil {
		return err
	}
	return w.barrier(ctx)
}

// trail brings a worker to the table that finishes what it has after a reload. Its servers cannot be changed any more: a
// route whose nodes are not as they were gets no further requests there.
func (e *edge) trail(ctx context.Context, pid int, t *packed) error {
	l, err := e.look(ctx, pid)
	if errors.Is(err, errForeign) || errors.Is(err, errGone) {
		return nil
	}
	if err != nil || l.notes.is(t) {
		return err
	}
	p := arrange(l, t.table)
	for _, pr := range p.routes {
		pr.fits = pr.fits && pr.moves(l, false).none()
	}
	err = e.decide(ctx, worker{e.console, pid}, p, t, kept{servers: l.notes.tenants, routes: l.notes.names})
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

// decide gives a worker the plan's map.
func (e *edge) decide(ctx context.Context, w worker, p *plan, t *packed, kept kept) error {
	k := e.remembered(w.pid)
	entries := p.decide(t, kept)
	if err := w.replace(ctx, k.file, entries); err != nil {
		return err
	}
	var err error
	if k.notes, err = readNotes(linesOf(entries)); err != nil {
		return err
	}
	e.remember(w.pid, k)
	return nil
}

// is says whether the notes are of this very table.
func (n *notes) is(t *packed) bool { return n.version == t.table.Version && n.digest == t.sum }

// replace changes the map at one instant.
func (w worker) replace(ctx context.Context, file string, entries []entry) error {
	out, err := w.ask(ctx, "prepare map "+file)
	if err != nil {
		return err
	}
	version, ok := strings.CutPrefix(strings.TrimSpace(out), "New version created: ")
	if !ok {
		return fault.New(fault.Failed, "prepare haproxy's map: %s", strings.TrimSpace(out))
	}
	for _, part := range payloads(entries) {
		out, err := w.ask(ctx, "add map @"+version+" "+file+" <<\n"+mapText(part))
		if err == nil && strings.TrimSpace(out) != "" {
			err = fault.New(fault.Failed, "fill haproxy's map: %s", strings.TrimSpace(out))
		}
		if err != nil {
			return err
		}
	}
	out, err = w.ask(ctx, "commit map @"+version+" "+file)
	if err == nil && strings.TrimSpace(out) != "" {
		err = fault.New(fault.Failed, "commit haproxy's map: %s", strings.TrimSpace(out))
	}
	return err
}

// barrier returns when every thread of the worker has finished what it was at when it was called: removing a server stops
// them all for an instant, also one that is not there.
func (w worker) barrier(ctx context.Context) error {
	out, err := w.ask(ctx, "del server release:gone/none")
	if err == nil && !strings.Contains(out, "No such server") {
		err = fault.New(fault.Failed, "wait for haproxy's threads: %s", strings.TrimSpace(out))
	}
	return err
}

func linesOf(entries []entry) map[string]string {
	lines := make(map[string]string, len(entries))
	for _, e := range entries {
		lines[e.key] = e.value
	}
	return lines
}

const (
	// reloadPoll is how often it is looked whether a reload is over.
	reloadPoll = 10 * time.Millisecond
	// reloadLimit is how long that may take: what else HAProxy has to read may be much.
	reloadLimit = time.Minute
)

// errRefused: the master did not take the configuration, and its worker goes on.
var errRefused = errors.New("haproxy refused its configuration")

// reload makes the master read its configuration anew, and returns when the new worker serves and all others have stopped
// accepting.
func (e *edge) reload(ctx context.Context, before processes) (processes, error) {
	out, err := e.console.ask(ctx, "reload")
	if err != nil && ctx.Err() != nil {
		return processes{}, err
	}
	if strings.Contains(out, "Permission denied") {
		return processes{}, fault.New(fault.Denied, "reload haproxy at %s: permission denied", e.Socket).
			WithHint("the master socket needs level admin, which is its default: haproxy -S %s,level,admin", e.Socket)
	}
	for began := time.Now(); ; {
		p, done, err := e.reloaded(ctx, before)
		if done || err != nil {
			return p, err
		}
		if time.Since(began) > reloadLimit {
			return p, unavailable(nil, "reload haproxy at %s: it is not over after %s", e.Socket, reloadLimit)
		}
		if err := e.pause(ctx); err != nil {
			return p, err
		}
	}
}

// reloaded says whether the reload is over.
func (e *edge) reloaded(ctx context.Context, before processes) (processes, bool, error) {
	p, err := e.console.processes(ctx)
	if err != nil || p.reloads == before.reloads && p.master == before.master {
		return p, false, nil // the master is at it, and its socket closed for that long
	}
	if p.failed > 0 {
		return p, false, errRefused
	}
	if p.current == 0 || slices.Contains(before.workers(), p.current) {
		return p, false, nil
	}
	if info, err := (worker{e.console, p.current}).information(ctx); err != nil || info.stopping {
		return p, false, nil
	}
	for _, pid := range p.old {
		info, err := worker{e.console, pid}.information(ctx)
		if err == nil && !info.stopping {
			return p, false, nil
		}
	}
	return p, true, nil
}
