package orchestrator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

const (
	installationKey = "meta/installation"
	statePrefix     = "apps/"
	// keptEvents is how many journal entries of an app and environment are kept.
	keptEvents = 20_000
	// keptReleases is how many releases are kept beside those that run.
	keptReleases = 100
)

func stateKey(k Key) string { return statePrefix + k.String() }

func eventKey(k Key, seq uint64) string { return fmt.Sprintf("events/%s/%012d", k, seq) }

func operationPrefix(k Key) string { return fmt.Sprintf("operations/%s/", k) }

func operationKey(k Key, n int) string { return fmt.Sprintf("%s%08d", operationPrefix(k), n) }

type installation struct {
	Schema int    `json:"schema"`
	ID     string `json:"id"`
}

// Installation returns the id of the installation that the store belongs to, and mints one in a new store: 8
// characters of [a-z2-7], random.
func Installation(ctx context.Context, s store.Store, random io.Reader) (string, error) {
	e, err := s.Get(ctx, installationKey)
	if errors.Is(err, store.ErrNotFound) {
		id, err := randomName(random, 8)
		if err != nil {
			return "", fmt.Errorf("mint installation id: %w", err)
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
	if err != nil {
		return "", fmt.Errorf("read installation id: %w", err)
	}
	var in installation
	if err := json.Unmarshal(e.Value, &in); err != nil {
		return "", fmt.Errorf("read installation id: %w", err)
	}
	if in.Schema > schema {
		return "", fault.New(fault.Unsupported, "open store: it was written by a newer version (schema %d, this one knows %d)", in.Schema, schema).
			WithHint("use the newer version of release")
	}
	return in.ID, nil
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
	stuck   error // why what was decided last could not be written; nil: it was
}

// timerGrain is how exactly timers are kept over a restart of the agent.
const timerGrain = 5 * time.Second

// fingerprint is the state as far as it is worth writing: timers count only in coarse grains.
func fingerprint(s *State) ([]byte, error) {
	c := *s
	c.Fleets = clonePointers(s.Fleets)
	for _, fl := range c.Fleets {
		fl.WarmLeft = fl.WarmLeft.Truncate(timerGrain)
	}
	c.Operations = clonePointers(s.Operations)
	for _, op := range c.Operations {
		op.HoldLeft = op.HoldLeft.Truncate(timerGrain)
	}
	return json.Marshal(&c)
}

// load reads all states.
func (o *Orchestrator) load(ctx context.Context) error {
	entries, err := o.opts.Store.List(ctx, statePrefix)
	if err != nil {
		return fmt.Errorf("load states: %w", err)
	}
	for _, e := range entries {
		s := &State{}
		if err := json.Unmarshal(e.Value, s); err != nil {
			return fmt.Errorf("load state %s: %w", strings.TrimPrefix(e.Key, statePrefix), err)
		}
		print, err := fingerprint(s)
		if err != nil {
			return fmt.Errorf("load state %s: %w", s.Key, err)
		}
		o.apps[s.Key] = &app{state: s, version: e.Version, print: print}
	}
	return nil
}

// commit writes a state with its events and the operations that ended, all or nothing, and makes it the present one. It
// does nothing when there is nothing worth writing.
func (o *Orchestrator) commit(ctx context.Context, a *app, s *State, events []Event, ended []*Operation) (bool, error) {
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
	prune(s)
	writes, err := o.writes(a, s, events, ended)
	if err != nil {
		return false, fmt.Errorf("write state %s: %w", s.Key, err)
	}
	version, err := o.opts.Store.Commit(ctx, writes...)
	if err != nil {
		return false, fmt.Errorf("write state %s: %w", s.Key, err)
	}
	a.version, a.print = version, print
	o.publish(a, s)
	for _, e := range events {
		o.log.Info(e.Message, "app", e.App, "env", e.Env, "type", e.Type, "seq", e.Seq)
	}
	return true, nil
}

func (o *Orchestrator) writes(a *app, s *State, events []Event, ended []*Operation) ([]store.Write, error) {
	value, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	writes := []store.Write{{Key: stateKey(s.Key), Value: value, IfVersion: a.version}}
	for _, e := range events {
		e.Epoch = o.epoch
		if value, err = json.Marshal(e); err != nil {
			return nil, err
		}
		writes = append(writes, store.Write{Key: eventKey(s.Key, e.Seq), Value: value, Any: true})
		if e.Seq > keptEvents {
			writes = append(writes, store.Write{Key: eventKey(s.Key, e.Seq-keptEvents), Any: true})
		}
	}
	for _, op := range ended {
		if value, err = json.Marshal(op); err != nil {
			return nil, err
		}
		writes = append(writes, store.Write{Key: operationKey(s.Key, op.Number), Value: value, Any: true})
	}
	return writes, nil
}

// prune forgets the oldest releases beyond what is kept, unless they run.
func prune(s *State) {
	for len(s.Releases) > keptReleases && s.fleetOf(s.Releases[0].ID) == nil {
		s.Releases = s.Releases[1:]
	}
}
