package orchestrator

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/healthcheck"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/store"
)

// truth is what is so, and what was said: that invariants are checked against. It is guarded by the world's lock.
type truth struct {
	state   journalled      // as it was committed last
	named   map[string]bool // nodes that a committed state has or had
	routed  map[string]bool // what committed states had for the table: a fleet with its share and nodes
	leading *process        // that wrote last that it leads
	serves  bool            // a table of that one is in effect
	nobody  bool            // a person took the first release back
	table   router.Table    // in effect
	left    map[string]time.Time
	weight  map[string]time.Time // when a node had a share of the traffic last; now, while it has
	closing map[string]time.Time // since when the edge is asked to end its connections
	gone    map[string]bool      // nodes that were shot
	slots   map[string]int
	long    map[string]int // long connections of a node, and requests
	flight  map[string]int
	far     map[string]bool      // nodes that an edge out of sight may route to
	sick    map[string]time.Time // nodes and images that do not answer well, since when
	well    map[string]time.Time // when the last such time was over
	crash   time.Time            // until then nodes end soon after their boot
	good    map[string]int       // good answers of a node
	booting map[string]int       // boots of a node
	late    map[string]bool      // what a call was for that comes late
	boots   map[string][]time.Time
	losses  map[string][]time.Time // by fleet: what the world took, and what people asked for

	ran     map[string]*migrated // commands of migrations, by node
	schema  int                  // of the database: what they made of it
	drifted map[string]bool      // nodes that differed from their image once
	drifts  map[string]bool      // and do now
	answers map[string][]given   // by release and question
	bad     map[string]time.Time // by question: until when it is answered badly
	silent  map[string]time.Time // and not at all
	vouched map[string]bool      // operations that a person let go on
	configs map[string]*journalledConfig
}

func newTruth() truth {
	return truth{
		named: map[string]bool{}, routed: map[string]bool{}, left: map[string]time.Time{}, weight: map[string]time.Time{}, closing: map[string]time.Time{},
		gone: map[string]bool{}, slots: map[string]int{}, long: map[string]int{}, flight: map[string]int{}, far: map[string]bool{},
		sick: map[string]time.Time{}, well: map[string]time.Time{}, good: map[string]int{}, booting: map[string]int{}, late: map[string]bool{},
		boots: map[string][]time.Time{}, losses: map[string][]time.Time{}, ran: map[string]*migrated{}, drifted: map[string]bool{}, drifts: map[string]bool{},
		answers: map[string][]given{}, bad: map[string]time.Time{}, silent: map[string]time.Time{}, vouched: map[string]bool{},
		configs: map[string]*journalledConfig{},
	}
}

// journalled is what invariants need of a committed state.
type journalled struct {
	Size       int                  `json:"size"`
	Sizes      map[string]int       `json:"sizes"`
	Fleets     []*Fleet             `json:"fleets"`
	Operations []*journalledOp      `json:"operations"`
	Tasks      []*journalledTask    `json:"tasks"`
	Releases   []*journalledRelease `json:"releases"`
	Database   *Database            `json:"database"`
}

type journalledOp struct {
	ID      string    `json:"id"`
	Kind    Kind      `json:"kind"`
	Phase   Phase     `json:"phase"`
	Release string    `json:"release"`
	From    string    `json:"from"`
	Force   bool      `json:"force"`
	Paused  bool      `json:"paused"`
	Ended   time.Time `json:"ended"`
	FirstAt time.Time `json:"first_at"`
	Percent int       `json:"percent"`
	Steps   []Step    `json:"steps"`
	Checks  []Check   `json:"checks"`
	Gate    string    `json:"gate"`

	Accepted  bool      `json:"accepted"`
	AbortedBy string    `json:"aborted_by"`
	ShiftedAt time.Time `json:"shifted_at"`
}

type journalledTask struct {
	ID    string    `json:"id"`
	Node  string    `json:"node"`
	Phase TaskPhase `json:"phase"`
	Fleet *Fleet    `json:"fleet"`
	Ended time.Time `json:"ended"`

	Failure   *Failure `json:"failure"`
	Operation string   `json:"operation"`
}

type journalledRelease struct {
	ID        string          `json:"id"`
	State     ReleaseState    `json:"state"`
	Approvals []Approval      `json:"approvals"`
	Config    json.RawMessage `json:"config"`
}

type journalledConfig struct {
	Schema     *config.SchemaRange `json:"schema"`
	Migrations *config.Migrations  `json:"migrations"`
	Cutover    struct {
		Steps []config.Step `json:"steps"`
	} `json:"cutover"`
	journalledRole
	Roles map[string]journalledRole `json:"roles"`
}

type journalledRole struct {
	Fleet struct {
		Drift config.Drift `json:"drift"`
	} `json:"fleet"`
}

// configOf reads the configuration of a release, once: it never changes. The lock is held.
func (w *simWorld) configOf(rel *journalledRelease) *journalledConfig {
	if c, read := w.configs[rel.ID]; read {
		return c
	}
	c := &journalledConfig{}
	if err := json.Unmarshal(rel.Config, c); err != nil {
		w.violate(inv5Journal, "the configuration of %s cannot be read: %v", rel.ID, err)
	}
	w.configs[rel.ID] = c
	return c
}

// drift is how nodes of a role are held to their image.
func (c *journalledConfig) drift(role string) config.Drift {
	if part, there := c.Roles[role]; there {
		return part.Fleet.Drift
	}
	return c.Fleet.Drift
}

func (j *journalled) release(id string) *journalledRelease {
	for _, rel := range j.Releases {
		if rel.ID == id {
			return rel
		}
	}
	return nil
}

func (j *journalled) sizeOf(fl *Fleet) int {
	switch role := fl.ID.Role; {
	case role == "db":
		return 1
	case role == Role && j.Size > 0:
		return j.Size
	case j.Sizes[role] > 0:
		return j.Sizes[role]
	}
	return simSize
}

// fleet is a fleet or what holds a task's node, and the task.
func (j *journalled) fleet(id fleet.FleetID) (*Fleet, *journalledTask) {
	for _, fl := range j.Fleets {
		if fl.ID == id {
			return fl, nil
		}
	}
	for _, t := range j.Tasks {
		if t.Fleet != nil && t.Fleet.ID == id {
			return t.Fleet, t
		}
	}
	return nil, nil
}

func (j *journalled) node(fl *Fleet, name string) *Node {
	if fl == nil {
		return nil
	}
	for _, n := range fl.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

func (j *journalled) exclusive() *journalledOp {
	for _, op := range j.Operations {
		if op.Kind.Exclusive() && op.Ended.IsZero() {
			return op
		}
	}
	return nil
}

// members are the nodes and the nodes of tasks.
func (j *journalled) nodes() []string {
	var names []string
	for _, fl := range j.Fleets {
		for _, n := range fl.Nodes {
			names = append(names, n.Name)
		}
	}
	for _, t := range j.Tasks {
		if t.Fleet != nil {
			names = append(names, t.Node)
		}
	}
	return names
}

// running are the nodes that run, by name. The world's lock need not be held.
func (w *simWorld) running() map[string]fleet.Node {
	nodes := map[string]fleet.Node{}
	for _, n := range w.driver.All() {
		if n.Presence != fleet.Gone {
			nodes[n.ID.Node] = n
		}
	}
	return nodes
}

func (w *simWorld) nodesOf(id fleet.FleetID) []string {
	var names []string
	for _, n := range w.driver.All() {
		if n.ID.Fleet == id {
			names = append(names, n.ID.Node)
		}
	}
	return names
}

// asked is a node's answer to a probe.
func (w *simWorld) asked(node string) healthcheck.Result {
	spec, _ := w.driver.SpecOf(node)
	w.mu.Lock()
	defer w.mu.Unlock()
	res := healthcheck.Result{At: time.Now(), OK: true}
	if !w.sick[node].IsZero() || !w.sick[spec.Image].IsZero() {
		res.OK, res.Message = false, "it is sick"
		return res
	}
	w.good[node]++
	return res
}

// soundFor says whether a node runs and has answered well for so long. The lock is held.
func (w *simWorld) soundFor(n fleet.Node, d time.Duration) bool {
	now := time.Now()
	for _, what := range []string{n.ID.Node, n.Image} {
		if !w.sick[what].IsZero() || now.Sub(w.well[what]) < d {
			return false
		}
	}
	return now.Sub(n.Since) >= d
}

// soundLong is how long a node must have been well before nobody has a reason to think otherwise.
const soundLong = 20 * time.Second

// committed takes what a process has written into the truth.
func (w *simWorld) committed(p *process, writes []store.Write) {
	running := w.running()
	w.mu.Lock()
	defer w.mu.Unlock()
	var events [][]byte
	var ended []*Operation
	for _, write := range writes {
		switch {
		case write.Check:
		case write.Key == leaderKey:
			w.leading, w.serves = p, false
		default:
			w.fenced(p, write.Key)
			if strings.HasPrefix(write.Key, "events/") {
				events = append(events, write.Value)
			}
			var op Operation
			if strings.HasPrefix(write.Key, operationPrefix(shop)) && json.Unmarshal(write.Value, &op) == nil {
				ended = append(ended, &op)
			}
		}
	}
	for _, write := range writes {
		if write.Key == stateKey(shop) && !write.Check {
			w.newState(write.Value, ended, running)
		}
	}
	if len(events) > 0 {
		w.noteLocked(p.String(), func() string { return "commit" + eventTexts(events) })
	}
}

func eventTexts(events [][]byte) string {
	var b strings.Builder
	for _, raw := range events {
		var e Event
		if json.Unmarshal(raw, &e) == nil {
			fmt.Fprintf(&b, "\n%20s %s: %s", "", e.Type, e.Message)
		}
	}
	return b.String()
}

// newState takes over a state. The lock is held.
func (w *simWorld) newState(raw []byte, ended []*Operation, running map[string]fleet.Node) {
	var next journalled
	if err := json.Unmarshal(raw, &next); err != nil {
		w.violate(inv5Journal, "a state cannot be read: %v", err)
		return
	}
	before := w.state
	w.state = next
	for _, name := range next.nodes() {
		w.named[name] = true
	}
	for _, fl := range next.Fleets {
		w.routed[routedText(fl.target())] = true
	}
	w.checkState(&before, &next, running)
	w.checkAnswers(&before, &next, ended)
}

// routedText is a fleet as a table has it.
func routedText(fl router.Fleet) string {
	text := fmt.Sprintf("%s %d", fl.ID, fl.Weight)
	for _, n := range fl.Nodes {
		text += " " + n.Name
	}
	return text
}

// booted takes a boot into the truth.
func (w *simWorld) booted(spec fleet.Spec) {
	name := spec.Nodes[0].Name
	boots, running := w.driver.Boots(name), w.running()
	node, runs := running[name]
	w.mu.Lock()
	defer w.mu.Unlock()
	again := boots == w.booting[name]
	w.booting[name] = boots
	w.checkBoot(spec, node, runs, running)
	if again {
		return
	}
	w.slots[name] = spec.Nodes[0].Slot
	w.migrates(spec, name, running)
	id := spec.Fleet.String()
	w.boots[id] = append(w.boots[id], time.Now())
	w.checkStorm(spec.Fleet)
	if time.Now().Before(w.crash) && spec.Kind == fleet.Serve {
		time.AfterFunc(300*time.Millisecond, func() { w.kill(name, false) })
	}
}

// kill ends a node. What crashes again and again counts as one loss.
func (w *simWorld) kill(name string, counts bool) {
	w.driver.Kill(name, fleet.Exit{Code: 137, Signal: "KILL"})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken(name, counts)
}

// broken ends the connections of a node that is gone. The lock is held.
func (w *simWorld) broken(name string, counts bool) {
	for _, fl := range w.state.Fleets {
		if counts && w.state.node(fl, name) != nil {
			w.lost(fl.ID.String())
		}
		if w.long[name]+w.flight[name] > 0 {
			w.router.SetLong(fl.ID.String(), name, 0)
			w.router.SetInFlight(fl.ID.String(), name, 0)
		}
	}
	delete(w.long, name)
	delete(w.flight, name)
}

func (w *simWorld) lost(id string) { w.losses[id] = append(w.losses[id], time.Now()) }

// shot takes the end of nodes into the truth, just before it.
func (w *simWorld) shot(id fleet.FleetID, names []string) {
	running := w.running()
	w.mu.Lock()
	defer w.mu.Unlock()
	fl, task := w.state.fleet(id)
	for _, name := range names {
		w.checkShot(fl, task, name, running)
		w.gone[name] = true
		delete(w.long, name)
		delete(w.flight, name)
	}
}

// tableApplied takes a table that is in effect into the truth.
func (w *simWorld) tableApplied(p *process, t router.Table) {
	running := w.running()
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.Version == w.table.Version {
		return
	}
	w.checkTable(p, w.table, t, running)
	now := time.Now()
	before, after := w.shares(w.table), w.shares(t)
	for name := range before {
		if _, stays := after[name]; !stays {
			w.left[name] = now
		}
		if before[name] > 0 && after[name] == 0 {
			w.weight[name] = now
		}
	}
	asked := map[string]time.Time{}
	for _, c := range t.Closing {
		asked[c.Node] = now
		if since, was := w.closing[c.Node]; was {
			asked[c.Node] = since
		}
		if !w.schedule.deaf {
			w.flight[c.Node] = max(0, w.flight[c.Node]-w.long[c.Node])
			delete(w.long, c.Node)
		}
	}
	w.table, w.closing, w.serves = t, asked, w.serves || p == w.leading
}

// shares are the nodes of a table with the shares of their fleets.
func (w *simWorld) shares(t router.Table) map[string]int {
	shares := map[string]int{}
	for _, route := range t.Routes {
		for _, fl := range route.Fleets {
			for _, n := range fl.Nodes {
				shares[n.Name] = max(shares[n.Name], fl.Weight)
			}
		}
	}
	return shares
}

// hookRan is a hook that begins: what it is for is on record.
func (w *simWorld) hookRan(c hook.Command) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checkHook(c)
}

// sortedNames are the nodes that run, of all releases or of what a filter takes.
func sortedNames(nodes map[string]fleet.Node) []string { return slices.Sorted(maps.Keys(nodes)) }
