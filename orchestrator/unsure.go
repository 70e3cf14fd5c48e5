package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

// A write without an answer may have been made all the same. Until that is known nothing is decided for its app, and nothing
// that was decided before is written.

// makeSure reads what the store has of the apps whose last write had no answer: it may have been made all the same. Until that is
// known nothing is decided for them.
func (o *Orchestrator) makeSure(ctx context.Context) {
	for key := range o.world.unsure {
		if err := o.reread(ctx, key); err != nil {
			o.complain("read state "+key.String(), err)
			return // the others would wait as long
		}
	}
}

// sureOf says why an app's state cannot be written from what was decided: the one before may not be what the store has.
func (o *Orchestrator) sureOf(ctx context.Context, a *app, key Key) error {
	if !o.world.unsure[key] {
		return nil
	}
	known := a.version // what is read may change it
	err := o.reread(ctx, key)
	if err == nil && o.app(key).version != known {
		err = errors.New("the one before was written though nobody said so")
	}
	if err != nil {
		return fault.New(fault.Unavailable, "write state %s: %w", key, err).WithHint("look with release status, and ask again")
	}
	return nil
}

// reread makes sure of one app: it takes over its state if the store has another one than was known.
func (o *Orchestrator) reread(ctx context.Context, key Key) error {
	ctx, cancel := context.WithTimeout(ctx, rereadWithin)
	defer cancel()
	a := o.app(key)
	e, err := o.opts.Store.Get(ctx, stateKey(key))
	if errors.Is(err, store.ErrNotFound) && a.version == 0 || err == nil && e.Version == a.version {
		delete(o.world.unsure, key)
		return nil
	}
	s := &State{}
	if err == nil {
		err = json.Unmarshal(e.Value, s)
	}
	var print []byte
	if err == nil {
		print, err = fingerprint(s)
	}
	if err != nil {
		return err
	}
	a.version, a.print, a.touched, o.world.moved = e.Version, print, true, true
	a.written++
	o.publish(a, s)
	delete(o.world.unsure, key)
	return nil
}

// rereadWithin bounds one try to read a state: the loop does nothing else meanwhile.
const rereadWithin = 2 * time.Second
