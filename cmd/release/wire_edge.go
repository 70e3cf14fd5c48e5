package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/store"
)

// Each agent has a router of its own, but users of an installation come to one of them: that of the agent that gave it a table
// first. While its agent is away it serves the last table, and nobody else can change that. So another agent that leads meanwhile
// keeps the nodes and touches no route: what it shot or moved could still be on that router's table. It hands the lead back
// as soon as the router's own agent returns, and takes the routes over when a person says that the router is gone.

// edgeKey is the record of whose router it is.
const edgeKey = "router/owner"

// owner is its value.
type owner struct {
	Agent string    `json:"agent"`
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
	// Back is the epoch of the leader that the agent asks to make room, since it is back.
	Back uint64 `json:"back,omitempty"`
}

// errHandBack ends the lead of an agent that cannot reach the router, for the sake of one that can.
var errHandBack = errors.New("the agent of the router that users come to is back: it leads")

// checkAgain is how long the answer that the router is another's counts.
const checkAgain = time.Second

// soleRouter is this agent's own router, for as long as no other agent's has the users.
type soleRouter struct {
	router.Backend
	store  store.Store
	agent  string
	resign func(error) // ends this lead

	mu      sync.Mutex
	ours    bool // known for the whole of this lead
	refused error
	asked   time.Time
}

var _ router.Backend = (*soleRouter)(nil)

// Precheck is that of the own router, if it can tell. Of another one, which users come to, nothing can be told.
func (r *soleRouter) Precheck(ctx context.Context, route router.Route) error {
	p, ok := r.Backend.(router.Prechecker)
	if !ok || r.own(ctx, false) != nil {
		return nil
	}
	return p.Precheck(ctx, route)
}

// Apply is that of the own router, once its agent is on record as the one.
func (r *soleRouter) Apply(ctx context.Context, t router.Table) error {
	if err := r.own(ctx, true); err != nil {
		return err
	}
	return r.Backend.Apply(ctx, t)
}

// Applied is that of the own router, unless users come to another one.
func (r *soleRouter) Applied(ctx context.Context) (router.Table, error) {
	if err := r.own(ctx, false); err != nil {
		return router.Table{}, err
	}
	return r.Backend.Applied(ctx)
}

// Observe is that of the own router, unless users come to another one.
func (r *soleRouter) Observe(ctx context.Context) (router.Observation, error) {
	if err := r.own(ctx, false); err != nil {
		return router.Observation{}, err
	}
	return r.Backend.Observe(ctx)
}

// own makes sure that no other agent's router has the users, and with claim says on record that ours has. Otherwise the
// error is router.ErrUnavailable: what users are served is unknown, but goes on.
func (r *soleRouter) own(ctx context.Context, claim bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ours {
		return nil
	}
	if r.refused != nil && time.Since(r.asked) < checkAgain {
		return r.refused
	}
	rec, version, err := readOwner(ctx, r.store)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", router.ErrUnavailable, err)
	case rec.Agent == "" && claim:
		return r.claim(ctx, version)
	case rec.Agent == "":
		return nil
	case rec.Agent == r.agent:
		r.ours = true
		return nil
	}
	if rec.Back != 0 {
		if leader, err := orchestrator.ReadLeader(ctx, r.store); err == nil && leader.Epoch == rec.Back {
			r.resign(errHandBack)
		}
	}
	f := fault.New(fault.Unavailable, "users come to the router of agent %s on %s, which this agent cannot reach", rec.Agent, rec.Host).
		WithHint("start that agent again; if its router is gone for good: release router forget %s", rec.Agent)
	f.Cause = router.ErrUnavailable
	r.refused, r.asked = f, time.Now()
	return f
}

func (r *soleRouter) claim(ctx context.Context, version uint64) error {
	host, err := os.Hostname()
	if err == nil {
		err = writeOwner(ctx, r.store, &owner{Agent: r.agent, Host: host, Since: time.Now().UTC()}, version)
	}
	if err != nil {
		return fmt.Errorf("%w: say whose router users come to: %w", router.ErrUnavailable, err)
	}
	r.ours = true
	return nil
}

// comeBack asks the agent that leads to make room, if users come to this agent's router.
func comeBack(ctx context.Context, s store.Store, agent string) error {
	rec, version, err := readOwner(ctx, s)
	if err != nil || rec.Agent != agent {
		return err
	}
	leader, err := orchestrator.ReadLeader(ctx, s)
	if err != nil || leader.Name == agent || leader.Epoch == rec.Back {
		return err
	}
	rec.Back = leader.Epoch
	if err := writeOwner(ctx, s, &rec, version); err != nil {
		return fmt.Errorf("ask %s to hand the lead back: %w", leader.Name, err)
	}
	return nil
}

// forgetRouter takes it that an agent's router serves nobody any more, unless it is only tried.
func forgetRouter(ctx context.Context, s store.Store, agent, own string, try bool) error {
	rec, version, err := readOwner(ctx, s)
	switch {
	case err != nil:
		return err
	case rec.Agent != agent:
		return fault.New(fault.NotFound, "forget edge %s: users come to %s", agent, orNobodys(rec.Agent))
	case agent == own:
		return fault.New(fault.Invalid, "forget edge %s: it is this agent's own router, which users come to", agent)
	case try:
		return nil
	}
	if err := writeOwner(ctx, s, nil, version); err != nil {
		return fmt.Errorf("forget edge %s: %w", agent, err)
	}
	return nil
}

func orNobodys(agent string) string {
	if agent == "" {
		return "no router yet"
	}
	return "the router of agent " + agent
}

// readOwner is whose router users come to; nobody's is no error.
func readOwner(ctx context.Context, s store.Store) (rec owner, version uint64, err error) {
	e, err := s.Get(ctx, edgeKey)
	if errors.Is(err, store.ErrNotFound) {
		return owner{}, 0, nil
	}
	if err == nil {
		err = json.Unmarshal(e.Value, &rec)
	}
	if err != nil {
		return owner{}, 0, fmt.Errorf("read whose router users come to: %w", err)
	}
	return rec, e.Version, nil
}

// writeOwner replaces the record; nil removes it.
func writeOwner(ctx context.Context, s store.Store, rec *owner, version uint64) error {
	w := store.Write{Key: edgeKey, IfVersion: version}
	if rec != nil {
		value, err := json.Marshal(rec)
		if err != nil {
			return err
		}
		w.Value = value
	}
	_, err := s.Commit(ctx, w)
	return err
}
