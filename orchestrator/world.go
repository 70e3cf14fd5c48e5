package orchestrator

import (
	"strings"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/router"
)

// world is what the loop knows beside the states: what drivers, probes, edges and actions said last. None of it needs
// to survive: all is asked again after a start.
type world struct {
	nodes     map[string]nodeSeen // by name
	results   map[string]Result   // of actions that ended, by key
	running   map[string]bool     // actions under way, by key
	progress  map[string]fleet.Progress
	hooks     map[string]hookUnderWay // by the key of their action
	output    map[string][]string     // of hooks, the same
	found     map[string][]foundFleet // by driver: fleets that no record knows
	retry     map[string]time.Time    // failed actions: not again before
	listings  map[string]*listing     // by fleet id
	reads     map[string]taskReading  // of tasks' output, by node
	grouped   map[string]bool         // drivers that are fleet.Grouped
	told      map[string]toldGroup    // by node of such a driver
	table     tableSeen
	edges     edgesSeen
	hosts     hostsKnown
	slots     map[int]string             // leased: node by slot
	cursor    int                        // where the search for a free slot goes on
	unleased  bool                       // slots may have changed hands since they were counted
	minted    []int                      // slots that the round under way has given out; no state has them yet
	written   int                        // states, so far, those included whose writing failed
	next      Key                        // the app that the next round begins with
	postponed bool                       // some apps still wait for their round
	untidy    bool                       // something may be known of what is gone
	moved     bool                       // what images are in use may have changed
	whole     time.Time                  // when all apps had a round last
	shown     router.Version             // the table that the views show
	pins      map[images.Digest][]string // as they were written last, with the reasons

	unsure     map[Key]bool // apps of which it is not known what the store has
	forgotten  map[Key]bool // apps that were destroyed, and nothing is kept of
	complained map[string]complaint
}

// nodeSeen is what a driver said of a node.
type nodeSeen struct {
	node   fleet.Node
	since  time.Time // when its boot was confirmed to this agent; zero: by an earlier one
	absent bool
}

// doubted says whether nobody can tell now if it is there, and it may be asked itself.
func (n nodeSeen) doubted() bool { return n.node.Presence == fleet.Unknown && n.node.Address != "" }

// listing is when a fleet's nodes were asked for.
type listing struct {
	running bool
	hinted  bool // something changed since
	at      time.Time
}

// taskReading is who reads the output of a task.
type taskReading struct {
	open int  // so many do
	done bool // one came to its end
}

// tableSeen is what is known of the tables at the edges.
type tableSeen struct {
	epoch     uint64        // of this leadership
	effective router.Table  // confirmed by every edge
	confirmed time.Time     // when
	pending   *router.Table // being applied, or maybe applied
	applying  bool
	refused   map[Key]refusal // routes that the backend does not take
	waiting   map[Key]refusal // routes whose nodes the backend waits for
	abandoned []string        // names of routes that it waited for, and waits no more
	retry     time.Time
	known     bool                   // the backend was read, and nothing since says that another table is in effect
	unread    error                  // why it could not be read last
	late      error                  // why the pending table is not known to be at every edge
	lateWhy   string                 // that without the table's version
	routed    map[string]bool        // nodes in effective or pending
	own       map[Key][]router.Route // the effective ones by app
	closing   map[string]bool        // nodes whose long connections the effective table ends
	left      map[string]time.Time   // nodes that were routed: since when none of the tables names them
}

type refusal struct {
	err         error
	first, last time.Time
	until       time.Time // not tried again before
	routes      []string  // names of all that the backend waited for
}

func (r refusal) fact() Refusal { return Refusal{Err: r.err, Span: r.last.Sub(r.first)} }

func newWorld() world {
	return world{
		nodes: map[string]nodeSeen{}, results: map[string]Result{}, running: map[string]bool{},
		progress: map[string]fleet.Progress{}, hooks: map[string]hookUnderWay{}, output: map[string][]string{}, found: map[string][]foundFleet{}, retry: map[string]time.Time{},
		listings: map[string]*listing{}, reads: map[string]taskReading{}, grouped: map[string]bool{}, told: map[string]toldGroup{}, unleased: true,
		table: tableSeen{refused: map[Key]refusal{}, waiting: map[Key]refusal{}, routed: map[string]bool{}, left: map[string]time.Time{}}, edges: newEdgesSeen(),
		complained: map[string]complaint{}, unsure: map[Key]bool{}, forgotten: map[Key]bool{}, pins: nil,
	}
}

// slot finds a free slot. It goes round, so that a slot is used again as late as possible.
func (w *world) slot(count int) int {
	for range count {
		n := w.cursor % count
		w.cursor = n + 1
		if _, taken := w.slots[n]; !taken {
			w.slots[n] = "minted"
			w.minted = append(w.minted, n)
			return n
		}
	}
	return -1 // the driver refuses it and says that the range is too small
}

// slot gives out a free slot. Whose they are is counted only when one is wanted: it takes a look at every node there is.
func (o *Orchestrator) slot() int {
	w := &o.world
	if w.unleased {
		w.lease(o.apps)
	}
	return w.slot(o.opts.Slots)
}

// lease counts the slots that the states and the round under way hold.
func (w *world) lease(apps map[Key]*app) {
	w.unleased = false
	w.slots = make(map[int]string, len(w.slots))
	for _, n := range w.minted {
		w.slots[n] = "minted"
	}
	for _, a := range apps {
		for role, addr := range a.state.Addresses {
			w.slots[addr.Slot] = routeName(a.state.Key, role)
		}
		for _, fl := range a.state.holders() {
			for _, n := range fl.Nodes {
				w.slots[n.Slot] = n.Name
			}
		}
	}
	for _, list := range w.found {
		for _, fl := range list {
			for _, n := range fl.nodes {
				w.slots[n.Slot] = n.ID.Node
			}
		}
	}
}

// sweep drops what is known of nodes, fleets and actions that no state has any more. Names are never used again, so this
// only saves memory.
func (w *world) sweep(apps map[Key]*app) {
	alive := map[string]bool{}
	for _, a := range apps {
		for _, op := range a.state.Operations {
			alive[operationSubject(a.state.Key, op)] = true
		}
		for _, v := range a.state.Volumes {
			alive[v.id(a.state.Key).String()] = true
		}
		for _, fl := range a.state.holders() {
			alive[fl.ID.String()] = true
			for _, n := range fl.Nodes {
				alive[n.Name] = true
			}
		}
	}
	for key := range w.output {
		if _, subject, _ := strings.Cut(key, " "); !alive[subject] && !w.running[key] {
			delete(w.output, key)
		}
	}
	for key := range w.results {
		if _, subject, _ := strings.Cut(key, " "); !alive[subject] && !w.running[key] {
			delete(w.results, key)
			delete(w.retry, key)
		}
	}
	for name := range w.nodes {
		if !alive[name] {
			delete(w.nodes, name)
			delete(w.table.left, name)
		}
	}
	for name := range w.told {
		if !alive[name] {
			delete(w.told, name)
		}
	}
	for name := range w.reads {
		if !alive[name] && w.reads[name].open == 0 {
			delete(w.reads, name)
		}
	}
	for id := range w.listings {
		if !alive[id] {
			delete(w.listings, id)
		}
	}
}
