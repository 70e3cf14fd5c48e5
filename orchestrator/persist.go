package orchestrator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

const (
	installationKey = "meta/installation"
	statePrefix     = "apps/"
	filePrefix      = "files/"
	// keptEvents is how many journal entries of an app and environment are kept.
	keptEvents = 20_000
	// keptTasks is how many tasks that ended an app and environment remembers.
	keptTasks = 200
	// keptReleases is how many releases are kept beside those that run.
	keptReleases = 100
	// mostDropped is how many of them one commit lets go of.
	mostDropped = 5
)

func stateKey(k Key) string { return statePrefix + k.String() }

func eventKey(k Key, seq uint64) string { return fmt.Sprintf("events/%s/%012d", k, seq) }

func operationPrefix(k Key) string { return fmt.Sprintf("operations/%s/", k) }

func drainPrefix(k Key) string { return fmt.Sprintf("drains/%s/", k) }

// drainKey names what draining a fleet cost an operation; a fleet's release and incarnation tell it from others.
func drainKey(k Key, c lateCost) string {
	return fmt.Sprintf("%s%08d/%s", drainPrefix(k), c.Operation, strings.TrimPrefix(c.Fleet, k.String()+"/"))
}

func operationKey(k Key, n int) string { return fmt.Sprintf("%s%08d", operationPrefix(k), n) }

func taskPrefix(k Key) string { return fmt.Sprintf("tasks/%s/", k) }

func taskKey(k Key, n int) string { return fmt.Sprintf("%s%08d", taskPrefix(k), n) }

type installation struct {
	Schema int    `json:"schema"`
	ID     string `json:"id"`
}

// Installation returns the id of the installation that the store belongs to, and mints one in a new store: 8
// characters of [a-z2-7], random.
func Installation(ctx context.Context, s store.Store, random io.Reader) (string, error) {
	id, _, err := InstallationAfter(ctx, s, random, "")
	return id, err
}

// InstallationAfter is Installation where another store may have been before: a new one gets that installation's id, unless it
// is "", so that its fleets and its router stay ours. lost says that it did.
func InstallationAfter(ctx context.Context, s store.Store, random io.Reader, before string) (id string, lost bool, err error) {
	id, minted, err := installationOf(ctx, s, random, before)
	return id, minted && before != "" && id == before, err
}

// mintInstallation writes the id of a store that has none: before, or a new one. store.ErrConflict: it has one by now.
func mintInstallation(ctx context.Context, s store.Store, random io.Reader, before string) (id string, err error) {
	if id = before; id == "" {
		if id, err = randomName(random, 8); err != nil {
			return "", fmt.Errorf("mint installation id: %w", err)
		}
	}
	value, err := json.Marshal(installation{Schema: schema, ID: id})
	if err != nil {
		return "", fmt.Errorf("mint installation id: %w", err)
	}
	if _, err = s.Commit(ctx, store.Write{Key: installationKey, Value: value}); err != nil {
		return "", fmt.Errorf("mint installation id: %w", err)
	}
	return id, nil
}

func installationOf(ctx context.Context, s store.Store, random io.Reader, before string) (id string, minted bool, err error) {
	e, err := s.Get(ctx, installationKey)
	if errors.Is(err, store.ErrNotFound) {
		id, err = mintInstallation(ctx, s, random, before)
		if !errors.Is(err, store.ErrConflict) {
			return id, err == nil, err
		}
		e, err = s.Get(ctx, installationKey) // another agent of a new store was quicker
	}
	if err != nil {
		return "", false, fmt.Errorf("read installation id: %w", err)
	}
	var in installation
	if err := json.Unmarshal(e.Value, &in); err != nil {
		return "", false, fmt.Errorf("read installation id: %w", err)
	}
	if in.Schema > schema {
		return "", false, fault.New(fault.Unsupported, "open store: it was written by a newer version (schema %d, this one knows %d)", in.Schema, schema).
			WithHint("use the newer version of release")
	}
	return in.ID, false, nil
}

const nameLetters = "abcdefghijklmnopqrstuvwxyz234567"

func randomName(random io.Reader, n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", err
	}
	for i := range b {
		b[i] = nameLetters[b[i]%32]
	}
	return string(b), nil
}

// app is one state in memory, with what is needed to write it again.
type app struct {
	state   *State
	version uint64 // in the store; 0: never written
	print   []byte // of the state as it was written
	round   time.Time
	written uint64   // rises with each state that was written
	touched bool     // something was heard of it since its last round
	routing routing  // what was found when its routes were compared last
	stale   bool     // who of it is to be probed may have changed
	probed  []string // nodes that are, by the prober's list
	looked  []string // nodes that are looked at for what differs in them
	stuck   error    // why what was decided last could not be written; nil: it was
}

// timerGrain is how exactly timers are kept over a restart of the agent.
const timerGrain = 5 * time.Second

// fingerprint is a digest of the state as far as it is worth writing: timers count only in coarse grains.
func fingerprint(s *State) ([]byte, error) {
	c := *s
	c.Counted, c.Marks = Ledger{}, nil
	c.Fleets = clonePointers(s.Fleets)
	for _, fl := range c.Fleets {
		fl.WarmLeft = fl.WarmLeft.Truncate(timerGrain)
		fl.Nodes = coarse(fl.Nodes)
	}
	if s.Database != nil {
		db := *s.Database
		db.AloneFor = db.AloneFor.Truncate(timerGrain)
		c.Database = &db
	}
	c.Operations = clonePointers(s.Operations)
	for _, op := range c.Operations {
		op.HoldLeft, op.Unclear = op.HoldLeft.Truncate(timerGrain), op.Unclear.Truncate(timerGrain)
		op.Evidence = nil // grows with every reading; it is written with whatever else is
	}
	value, err := json.Marshal(&c)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(value)
	return sum[:], nil
}

// coarse is nodes with their timers in coarse grains. Most fleets have none.
func coarse(nodes []*Node) []*Node {
	if !slices.ContainsFunc(nodes, func(n *Node) bool { return n.State == NodeQuarantined }) {
		return nodes
	}
	nodes = clonePointers(nodes)
	for _, n := range nodes {
		n.Quarantine.Left = n.Quarantine.Left.Truncate(timerGrain)
	}
	return nodes
}

// load reads all states and the secret.
func (o *Orchestrator) load(ctx context.Context) error {
	secret, err := loadStickySecret(ctx, o.opts.Store, o.opts.Rand)
	if err != nil {
		return err
	}
	o.secret = secret
	if err := o.loadHosts(ctx); err != nil {
		return err
	}
	states, err := o.states(ctx)
	if err != nil {
		return err
	}
	for s, version := range states {
		if err := o.sees(ctx, s); err != nil {
			return err
		}
		print, err := fingerprint(s)
		if err != nil {
			return fmt.Errorf("load state %s: %w", s.Key, err)
		}
		o.apps[s.Key] = &app{state: s, version: version, print: print, stale: true}
		o.world.edges.counted.resume(s)
	}
	return o.forgetFiles(ctx)
}

// states reads all states, each with its version.
func (o *Orchestrator) states(ctx context.Context) (map[*State]uint64, error) {
	entries, err := o.opts.Store.List(ctx, statePrefix)
	if err != nil {
		return nil, fmt.Errorf("load states: %w", err)
	}
	states := map[*State]uint64{}
	for _, e := range entries {
		s := &State{}
		if err := json.Unmarshal(e.Value, s); err != nil {
			return nil, fmt.Errorf("load state %s: %w", strings.TrimPrefix(e.Key, statePrefix), err)
		}
		states[s] = e.Version
	}
	return states, nil
}

// commit writes a state with its events and the operations that ended, all or nothing, and makes it the present one. It
// does nothing when there is nothing worth writing.
func (o *Orchestrator) commit(ctx context.Context, a *app, s *State, events []Event, history records) (bool, error) {
	if unchanged(s, a.state) && a.print != nil {
		return false, nil
	}
	print, err := fingerprint(s)
	if err != nil {
		return false, fmt.Errorf("write state %s: %w", s.Key, err)
	}
	if bytes.Equal(print, a.print) {
		o.mu.Lock()
		a.state = s // timers only
		o.mu.Unlock()
		return false, nil
	}
	o.world.written++
	if err := o.sureOf(ctx, a, s.Key); err != nil {
		return false, err
	}
	history.dropped = prune(s)
	o.world.edges.counted.record(s, o.opts.Now())
	commits, err := o.commits(a, s, events, history)
	if err != nil {
		return false, fmt.Errorf("write state %s: %w", s.Key, err)
	}
	var written uint64 // the last one's is the state's
	for _, writes := range commits {
		failpoint.Pass(failpoint.JournalWrite)
		version, err := o.opts.Store.Commit(ctx, writes...)
		if o.madeRoom(a.state, s, err) {
			version, err = o.opts.Store.Commit(ctx, writes...)
		}
		if err != nil {
			if !errors.Is(err, store.ErrConflict) {
				o.world.unsure[s.Key] = true
			}
			return false, fmt.Errorf("write state %s: %w", s.Key, err)
		}
		written = version
		failpoint.Pass(failpoint.JournalWritten)
	}
	a.version, a.print, a.touched, o.world.moved = written, print, true, true
	a.written++
	o.publish(a, s)
	for _, e := range events {
		o.log.Info(e.Message, "app", e.App, "env", e.Env, "type", e.Type, "seq", e.Seq)
	}
	return true, nil
}

// commits are what a change is written by: one commit, or more where the journal has more entries than a commit takes. Those
// go first: nobody sees them before the state, in the last commit, counts them, and what is left of a change that was not
// finished is written over by the next one.
func (o *Orchestrator) commits(a *app, s *State, events []Event, history records) ([][]store.Write, error) {
	last, err := stateWrites(a, s, history)
	if err != nil {
		return nil, err
	}
	journal, err := o.journalWrites(s.Key, events)
	if err != nil {
		return nil, err
	}
	last = append(last, o.fence)
	if len(last)+len(journal) <= store.MaxWrites {
		return [][]store.Write{append(last, journal...)}, nil
	}
	var commits [][]store.Write
	for part := range slices.Chunk(journal, store.MaxWrites-1) {
		commits = append(commits, append(slices.Clone(part), o.fence))
	}
	return append(commits, last), nil
}

func (o *Orchestrator) journalWrites(key Key, events []Event) ([]store.Write, error) {
	var writes []store.Write
	for _, e := range events {
		e.Epoch = o.epoch
		value, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		writes = append(writes, store.Write{Key: eventKey(key, e.Seq), Value: value, Any: true})
		if e.Seq > keptEvents {
			writes = append(writes, store.Write{Key: eventKey(key, e.Seq-keptEvents), Any: true})
		}
	}
	return writes, nil
}

func stateWrites(a *app, s *State, history records) ([]store.Write, error) {
	value, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	writes := []store.Write{{Key: stateKey(s.Key), Value: value, IfVersion: a.version}}
	for _, op := range history.ended {
		if value, err = json.Marshal(op); err != nil {
			return nil, err
		}
		writes = append(writes, store.Write{Key: operationKey(s.Key, op.Number), Value: value, Any: true})
	}
	for _, c := range history.late {
		if value, err = json.Marshal(c); err != nil {
			return nil, err
		}
		writes = append(writes, store.Write{Key: drainKey(s.Key, c), Value: value, Any: true})
	}
	for _, t := range history.tasks {
		if value, err = json.Marshal(t); err != nil {
			return nil, err
		}
		writes = append(writes, store.Write{Key: taskKey(s.Key, t.Number), Value: value, Any: true})
		if t.Number > keptTasks {
			writes = append(writes, store.Write{Key: taskKey(s.Key, t.Number-keptTasks), Any: true})
		}
	}
	for _, n := range a.state.Repairs {
		if !slices.Contains(s.Repairs, n) {
			writes = append(writes, store.Write{Key: operationKey(s.Key, n), Any: true})
		}
	}
	kept, err := archiveWrites(s.Key, history.dropped)
	return append(writes, kept...), err
}

// runs says whether anything of a release has nodes.
func (s *State) runs(release string) bool {
	return slices.ContainsFunc(s.holders(), func(fl *Fleet) bool { return fl.ID.Release == release || fl.Before == release })
}

// prune lets go of the oldest releases beyond what is kept, unless they run, a few at a time: they are written elsewhere.
func prune(s *State) (dropped []*Release) {
	for len(s.Releases) > keptReleases && len(dropped) < mostDropped && !s.runs(s.Releases[0].ID) {
		dropped, s.Releases = append(dropped, s.Releases[0]), s.Releases[1:]
	}
	return dropped
}
