package consul

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/store/local"
)

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, writes ...store.Write) (uint64, error) {
	if err := local.CheckWrites(writes); err != nil {
		return 0, err
	}
	version, err := s.commit(ctx, writes)
	if err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	return version, nil
}

func (s *Store) commit(ctx context.Context, writes []store.Write) (uint64, error) {
	if len(local.Written(writes)) == 0 {
		return s.check(ctx, writes)
	}
	slot := s.slots.take()
	defer s.slots.give(slot)
	until := time.Now().Add(patience)
	for {
		guarded, own, err := s.guard(ctx, writes)
		if err != nil {
			return 0, err
		}
		version, err := s.apply(ctx, guarded, slot, until)
		var refused *refusal
		if own == "" || !errors.As(err, &refused) || refused.key != s.entryKey(own) {
			return version, err
		}
		// Somebody wrote between our reading and our writing, which is no conflict of the caller's: once more.
		if time.Now().After(until) {
			return 0, fault.New(fault.Unavailable, "%q is written by others all the time", own)
		}
	}
}

// check is a commit that writes nothing: its version is the newest below the prefix.
func (s *Store) check(ctx context.Context, writes []store.Write) (newest uint64, err error) {
	if len(writes) > 0 {
		if _, err := s.transact(ctx, s.checks(writes)); err != nil {
			return 0, err
		}
	}
	err = s.try(ctx, func(ctx context.Context) error {
		_, meta, err := s.client.KV().Keys(s.opts.Prefix, "", consistent(ctx))
		if err == nil {
			newest = meta.LastIndex
		}
		return err
	})
	return newest, err
}

// guard makes a commit conditional that is not: one of its writes gets the version that its key has now, and own says which.
// The transaction then changes nothing when it arrives late, after it was given up or sent again.
func (s *Store) guard(ctx context.Context, writes []store.Write) (guarded []store.Write, own string, err error) {
	any := -1
	for i, w := range writes {
		if !w.Check && !w.Any {
			return writes, "", nil
		}
		if w.Any && any < 0 {
			any = i
		}
	}
	pair, err := s.read(ctx, s.entryKey(writes[any].Key))
	if err != nil {
		return nil, "", err
	}
	guarded = append(guarded, writes...)
	w := &guarded[any]
	if w.Any = false; pair != nil {
		w.IfVersion = pair.ModifyIndex
	} else {
		w.IfVersion = 0
	}
	return guarded, w.Key, nil
}

// apply sends the transaction until it is known to be applied or refused. A refusal that comes after a lost answer may be
// caused by our own first try, which the commit's number tells.
func (s *Store) apply(ctx context.Context, writes []store.Write, slot int, until time.Time) (uint64, error) {
	commit, mark := newCommit(), s.slotKey(slot)
	ops := s.ops(commit, mark, writes)
	lost := false
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		results, err := s.transactOnce(ctx, ops)
		switch {
		case err == nil:
			return indexOf(results, mark), nil
		case errors.Is(err, store.ErrConflict) && lost:
			return s.applied(ctx, commit, mark, err)
		case !fault.Is(err, fault.Unavailable) || time.Now().Add(pause).After(until):
			return 0, err
		}
		lost = true
		if err := consulapi.Sleep(ctx, pause); err != nil {
			return 0, err
		}
	}
}

// applied finds out whether a commit whose answer was lost was made: its number is the mark's. Otherwise it was refused.
func (s *Store) applied(ctx context.Context, commit, mark string, refused error) (uint64, error) {
	pair, err := s.read(ctx, mark)
	if err != nil {
		return 0, err
	}
	if pair == nil {
		return 0, refused
	}
	number, _, err := s.codec.decode(pair.Value)
	if err != nil {
		return 0, fmt.Errorf("read %s in Consul: %w", mark, err)
	}
	if number != commit {
		return 0, refused
	}
	return pair.ModifyIndex, nil
}

// checks are the conditions of writes that change nothing.
func (s *Store) checks(writes []store.Write) api.TxnOps {
	var ops api.TxnOps
	for _, w := range writes {
		ops = append(ops, &api.TxnOp{KV: s.condition(w)})
	}
	return ops
}

func (s *Store) condition(w store.Write) *api.KVTxnOp {
	if w.IfVersion == 0 {
		return &api.KVTxnOp{Verb: api.KVCheckNotExists, Key: s.entryKey(w.Key)}
	}
	return &api.KVTxnOp{Verb: api.KVCheckIndex, Key: s.entryKey(w.Key), Index: w.IfVersion}
}

// ops is the transaction: the conditions and changes, and the mark. A conditional delete is two operations, since Consul's
// own passes when the key is absent.
func (s *Store) ops(commit, mark string, writes []store.Write) api.TxnOps {
	ops := api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVSet, Key: mark, Value: s.codec.encode(commit, nil)}}}
	add := func(op *api.KVTxnOp) { ops = append(ops, &api.TxnOp{KV: op}) }
	for _, w := range writes {
		key := s.entryKey(w.Key)
		switch {
		case w.Check:
			add(s.condition(w))
		case w.Value == nil:
			if !w.Any {
				add(s.condition(w))
			}
			add(&api.KVTxnOp{Verb: api.KVDelete, Key: key})
		case w.Any:
			add(&api.KVTxnOp{Verb: api.KVSet, Key: key, Value: s.codec.encode(commit, w.Value)})
		default:
			add(&api.KVTxnOp{Verb: api.KVCAS, Key: key, Value: s.codec.encode(commit, w.Value), Index: w.IfVersion})
		}
	}
	return ops
}

// indexOf is the version that a transaction gave a key.
func indexOf(results api.TxnResults, key string) uint64 {
	for _, r := range results {
		if r.KV != nil && r.KV.Key == key {
			return r.KV.ModifyIndex
		}
	}
	return 0
}

// refusal is a transaction whose condition on a key does not hold. It is store.ErrConflict.
type refusal struct {
	key string
	why string
}

func (r *refusal) Error() string { return r.why + ": " + store.ErrConflict.Error() }

func (r *refusal) Unwrap() error { return store.ErrConflict }

// transact is a transaction that may be sent twice without harm.
func (s *Store) transact(ctx context.Context, ops api.TxnOps) (results api.TxnResults, err error) {
	err = s.try(ctx, func(ctx context.Context) (err error) {
		results, err = s.send(ctx, ops)
		return err
	})
	return results, err
}

func (s *Store) transactOnce(ctx context.Context, ops api.TxnOps) (results api.TxnResults, err error) {
	err = s.once(ctx, func(ctx context.Context) (err error) {
		results, err = s.send(ctx, ops)
		return err
	})
	return results, err
}

func (s *Store) send(ctx context.Context, ops api.TxnOps) (api.TxnResults, error) {
	ok, resp, _, err := s.client.Txn().Txn(ops, consistent(ctx))
	switch {
	case err != nil:
		return nil, err
	case ok:
		return resp.Results, nil
	}
	return nil, refused(ops, resp.Errors)
}

// refused turns the errors of a transaction's operations into one: what its condition says, or what kept an operation from
// being done at all.
func refused(ops api.TxnOps, errs api.TxnErrors) error {
	var conflict *refusal
	for _, e := range errs {
		if e.OpIndex < 0 || e.OpIndex >= len(ops) || strings.Contains(e.What, "Permission denied") || !conditional(ops[e.OpIndex].KV.Verb) {
			return errors.New(e.What)
		}
		conflict = &refusal{key: ops[e.OpIndex].KV.Key, why: e.What}
	}
	if conflict == nil {
		return errors.New("the transaction was refused, and Consul does not say why")
	}
	return conflict
}

func conditional(verb api.KVOp) bool {
	switch verb {
	case api.KVCAS, api.KVCheckIndex, api.KVCheckNotExists, api.KVLock, api.KVUnlock:
		return true
	}
	return false
}
