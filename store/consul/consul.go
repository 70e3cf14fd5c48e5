package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

// DefaultPrefix is where an installation's keys are when nothing else is said.
const DefaultPrefix = "release/"

const (
	// schema is the version of the layout in the package comment.
	schema = 1
	// patience is how long a call goes on trying while Consul has no leader or does not answer: an election takes seconds.
	patience = 8 * time.Second
	// attempt bounds one try, so that a member that hangs is not waited for until the end.
	attempt = 3 * time.Second

	firstPause = 50 * time.Millisecond
	longPause  = time.Second
)

// Options of a store.
type Options struct {
	Settings consulapi.Settings
	Prefix   string       // "": DefaultPrefix; ends in a slash, does not begin with one
	Client   string       // who writes: unique, the same at each start; "": drawn at random
	Sole     bool         // no other process is Client now: rights that one before it left held are given up
	Log      *slog.Logger // nil: none

	clock    func() time.Duration // nil: bootClock; tests let it jump
	leastTTL time.Duration        // 0: Consul's own minimum; tests set the servers' lower
}

// Store is a store in Consul. Make one with Open.
type Store struct {
	opts   Options
	client *api.Client
	codec  *codec
	slots  slots
	ctx    context.Context // ends with Close
	close  context.CancelFunc

	mu     sync.Mutex
	closed bool
	leases map[*lease]struct{} // held
}

var _ store.Store = (*Store)(nil)

// Open checks that the prefix holds a store of ours, and begins one where it holds nothing. Errors: fault.Invalid for the
// settings, fault.Unavailable when Consul does not answer (again later makes sense), fault.Denied with the policy that the
// token lacks, fault.Unsupported when a newer release wrote it.
func Open(ctx context.Context, opts Options) (*Store, error) {
	opts.Prefix = cmp.Or(opts.Prefix, DefaultPrefix)
	if strings.HasPrefix(opts.Prefix, "/") || !strings.HasSuffix(opts.Prefix, "/") {
		return nil, fault.New(fault.Invalid, "open store in Consul: prefix %q must end in a slash and not begin with one", opts.Prefix)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.clock == nil {
		opts.clock = bootClock
	}
	if opts.Client == "" {
		opts.Client = newCommit()[:12]
	}
	opts.leastTTL = cmp.Or(opts.leastTTL, consulTTL)
	client, err := opts.Settings.Client()
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	codec, err := newCodec()
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{opts: opts, client: client, codec: codec, leases: map[*lease]struct{}{}}
	s.ctx, s.close = context.WithCancel(context.Background())
	if err := s.prepare(ctx); err != nil {
		s.close()
		return nil, fmt.Errorf("open store %s in Consul: %w", opts.Prefix, err)
	}
	if opts.Sole {
		if err := s.reclaim(ctx); err != nil {
			s.close()
			return nil, fmt.Errorf("open store %s in Consul: give up what an earlier process held: %w", opts.Prefix, err)
		}
	}
	return s, nil
}

// prepare checks the layout's version, and writes it in a new store.
func (s *Store) prepare(ctx context.Context) error {
	have, err := s.read(ctx, s.key("schema"))
	if err != nil {
		return err
	}
	if have == nil {
		op := &api.KVTxnOp{Verb: api.KVCAS, Key: s.key("schema"), Value: strconv.AppendInt(nil, schema, 10)}
		if _, err := s.transact(ctx, api.TxnOps{{KV: op}}); err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
		return nil // written by us, or by an agent that began at the same moment
	}
	version, err := strconv.Atoi(string(have.Value))
	if err != nil {
		return fault.New(fault.Failed, "read schema version %.20q: %w", have.Value, err).
			WithHint("something else is kept under %s: choose another store.consul.prefix", s.opts.Prefix)
	}
	if version > schema {
		return fault.New(fault.Unsupported, "it has schema version %d and this program knows %d", version, schema).
			WithHint("a newer release wrote it: use that one")
	}
	return nil
}

// Close ends all watches and rights; the rights are released, which takes up to releaseTime. Later calls fail.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	held := make([]*lease, 0, len(s.leases))
	for l := range s.leases {
		held = append(held, l)
	}
	s.mu.Unlock()
	var failed []error
	for _, l := range held {
		failed = append(failed, l.Release(context.Background()))
	}
	ctx, cancel := context.WithTimeout(s.ctx, releaseTime)
	defer cancel()
	failed = append(failed, s.forget(ctx))
	s.close()
	return errors.Join(failed...)
}

// Where is Consul's address, for people.
func (s *Store) Where() string { return s.opts.Settings.Where() }

func (s *Store) key(name string) string { return s.opts.Prefix + name }

func (s *Store) entryKey(key string) string { return s.opts.Prefix + "kv/" + key }

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	pair, err := s.read(ctx, s.entryKey(key))
	if err == nil && pair == nil {
		err = store.ErrNotFound
	}
	var e store.Entry
	if err == nil {
		e, err = s.entry(pair)
	}
	if err != nil {
		return store.Entry{}, fmt.Errorf("get %q: %w", key, err)
	}
	return e, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Entry, error) {
	var pairs api.KVPairs
	err := s.try(ctx, func(ctx context.Context) (err error) {
		pairs, _, err = s.client.KV().List(s.entryKey(prefix), consistent(ctx))
		return err
	})
	entries := make([]store.Entry, 0, len(pairs))
	for _, pair := range pairs {
		e, bad := s.entry(pair)
		if err = cmp.Or(err, bad); err != nil {
			break
		}
		entries = append(entries, e)
	}
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", prefix, err)
	}
	slices.SortFunc(entries, func(a, b store.Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries, nil
}

func (s *Store) entry(pair *api.KVPair) (store.Entry, error) {
	key := strings.TrimPrefix(pair.Key, s.entryKey(""))
	_, value, err := s.codec.decode(pair.Value)
	if err != nil {
		return store.Entry{}, fmt.Errorf("read %s in Consul: %w", pair.Key, err)
	}
	return store.Entry{Key: key, Value: value, Version: pair.ModifyIndex}, nil
}

// read gets one key of Consul's, nil when it is absent.
func (s *Store) read(ctx context.Context, key string) (*api.KVPair, error) {
	var pair *api.KVPair
	err := s.try(ctx, func(ctx context.Context) (err error) {
		pair, _, err = s.client.KV().Get(key, consistent(ctx))
		return err
	})
	return pair, err
}

func consistent(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
}

// try asks until there is an answer, patience is over or ctx ends; a call whose context ended keeps that as its error.
func (s *Store) try(ctx context.Context, ask func(context.Context) error) error {
	until := time.Now().Add(patience)
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		err := s.once(ctx, ask)
		if !fault.Is(err, fault.Unavailable) || time.Now().Add(pause).After(until) {
			return err
		}
		if consulapi.Sleep(ctx, pause) != nil {
			return ctx.Err()
		}
	}
}

// once asks one time and gives the error its class.
func (s *Store) once(ctx context.Context, ask func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.ctx.Err() != nil {
		return fault.New(fault.Unavailable, "the store is closed")
	}
	bounded, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	err := ask(bounded)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return s.explain(err)
}

// explain gives an error its class.
func (s *Store) explain(err error) error {
	return s.opts.Settings.Explain(err, consulapi.Policy(s.opts.Prefix))
}
