package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bootandshoot/release/store"
)

// leaderKey is the record of who leads. Each commit of a leader depends on it.
const leaderKey = "meta/leader"

// Leader is the agent that leads an installation, or led it last.
type Leader struct {
	Schema int       `json:"schema"`
	Epoch  uint64    `json:"epoch"`
	Name   string    `json:"name"`
	Since  time.Time `json:"since"`
}

// ReadLeader is who leads the installation of a store; store.ErrNotFound when nobody ever did.
func ReadLeader(ctx context.Context, s store.Store) (Leader, error) {
	l, _, err := readLeader(ctx, s)
	if err != nil {
		return Leader{}, fmt.Errorf("read who leads: %w", err)
	}
	return l, nil
}

func readLeader(ctx context.Context, s store.Store) (l Leader, version uint64, err error) {
	e, err := s.Get(ctx, leaderKey)
	if err != nil {
		return Leader{}, 0, err
	}
	return l, e.Version, json.Unmarshal(e.Value, &l)
}

// takeOver writes that this agent leads. From then on no earlier leader can write, whether it knows or not. An agent that is
// late itself, since a later one was here already, gets store.ErrLeaseLost.
func (o *Orchestrator) takeOver(ctx context.Context) error {
	before, version, err := readLeader(ctx, o.opts.Store)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read who led: %w", err)
	}
	if err == nil && before.Epoch >= o.epoch {
		return fmt.Errorf("%s leads with epoch %d, after our %d: %w", before.Name, before.Epoch, o.epoch, store.ErrLeaseLost)
	}
	value, err := json.Marshal(Leader{Schema: schema, Epoch: o.epoch, Name: o.opts.Holder, Since: o.opts.Now().UTC()})
	if err != nil {
		return fmt.Errorf("write who leads: %w", err)
	}
	version, err = o.opts.Store.Commit(ctx, store.Write{Key: leaderKey, Value: value, IfVersion: version})
	if errors.Is(err, store.ErrConflict) {
		err = errors.Join(store.ErrLeaseLost, err)
	}
	if err != nil {
		return fmt.Errorf("write who leads: %w", err)
	}
	o.fence = store.Write{Key: leaderKey, IfVersion: version, Check: true}
	return nil
}
