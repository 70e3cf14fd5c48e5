package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

const (
	// patience is how long a call goes on trying while Consul has no leader or does not answer: an election takes seconds.
	patience = 8 * time.Second
	// attempt bounds one try, so that a member that hangs is not waited for until the end.
	attempt = 3 * time.Second

	firstPause = 50 * time.Millisecond
	longPause  = time.Second

	// DefaultPrefix is where an installation's keys are when nothing else is said.
	DefaultPrefix = "release/"
)

// Options say where in which Consul an installation's keys are.
type Options struct {
	Settings consulapi.Settings
	Prefix   string       // "": DefaultPrefix; ends in a slash, does not begin with one
	Log      *slog.Logger // nil: none
}

// space is the keys of an installation.
type space struct {
	opts   Options
	client *api.Client
	pulses *pulses
}

func newSpace(opts Options) (*space, error) {
	opts.Prefix = cmp.Or(opts.Prefix, DefaultPrefix)
	if strings.HasPrefix(opts.Prefix, "/") || !strings.HasSuffix(opts.Prefix, "/") {
		return nil, fault.New(fault.Invalid, "route through Consul: prefix %q must end in a slash and not begin with one", opts.Prefix)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	client, err := opts.Settings.Client()
	if err != nil {
		return nil, fmt.Errorf("route through Consul: %w", err)
	}
	return &space{opts: opts, client: client, pulses: &pulses{}}, nil
}

func (s *space) tableKey() string { return s.opts.Prefix + "router/table" }

func (s *space) trialKey() string { return s.opts.Prefix + "router/trial" }

func (s *space) edgeKey(id string) string { return s.opts.Prefix + "router/edges/" + id }

// Policy is what an ACL token of agents and edges needs, as Consul's rules say it. Services and nodes are for the projection.
func Policy(prefix string) string {
	return consulapi.Policy(prefix) + ` service_prefix "release-" { policy = "write" } node_prefix "release-" { policy = "write" }`
}

// explain gives an error its class; what may go away by itself is router.ErrUnavailable too.
func (s *space) explain(err error) error {
	err = s.opts.Settings.Explain(err, Policy(s.opts.Prefix))
	if fault.Is(err, fault.Unavailable) {
		return &unavailable{err}
	}
	return err
}

// unavailable is an error of class fault.Unavailable that is router.ErrUnavailable as well.
type unavailable struct{ error }

func (u *unavailable) Unwrap() []error { return []error{u.error, router.ErrUnavailable} }

// try asks until there is an answer, patience is over or ctx ends; a call whose context ended keeps that as its error.
func (s *space) try(ctx context.Context, ask func(context.Context) error) error {
	until := time.Now().Add(patience)
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		err := s.once(ctx, ask)
		if !errors.Is(err, router.ErrUnavailable) || time.Now().Add(pause).After(until) {
			return err
		}
		if consulapi.Sleep(ctx, pause) != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// once asks one time and gives the error its class.
func (s *space) once(ctx context.Context, ask func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	err := ask(bounded)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return s.explain(err)
}

func consistent(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
}

func writing(ctx context.Context) *api.WriteOptions { return (&api.WriteOptions{}).WithContext(ctx) }

// get reads one key, nil when it is absent.
func (s *space) get(ctx context.Context, key string) (pair *api.KVPair, err error) {
	err = s.try(ctx, func(ctx context.Context) (err error) {
		pair, _, err = s.client.KV().Get(key, consistent(ctx))
		return err
	})
	return pair, err
}

// table reads the record; no table is index 0.
func (s *space) table(ctx context.Context) (t router.Table, index uint64, err error) {
	pair, err := s.get(ctx, s.tableKey())
	if err != nil || pair == nil {
		return router.Table{}, 0, err
	}
	t, err = decodeTable(pair.Value)
	if err != nil {
		return router.Table{}, 0, fmt.Errorf("read %s in Consul: %w", pair.Key, err)
	}
	return t, pair.ModifyIndex, nil
}

func decodeTable(value []byte) (router.Table, error) {
	b, err := unpack(value)
	if err != nil {
		return router.Table{}, err
	}
	return router.Decode(b)
}

// putTable writes the record if it still is the one of the index, 0 for none. That an answer was lost is for the caller to
// find out: then the table is there when it is read again.
func (s *space) putTable(ctx context.Context, t router.Table, index uint64) (written bool, err error) {
	b, err := t.Encode()
	if err == nil {
		b, err = pack(b)
	}
	if err != nil {
		return false, err
	}
	err = s.once(ctx, func(ctx context.Context) (err error) {
		written, _, err = s.client.KV().CAS(&api.KVPair{Key: s.tableKey(), Value: b, ModifyIndex: index}, writing(ctx))
		return err
	})
	return written, err
}
