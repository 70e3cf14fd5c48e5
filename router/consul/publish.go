package consul

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/router"
)

const (
	// largest bounds a record; a larger one leaves its latencies out.
	largest = 256 << 10
	// lockDelay is the shortest that Consul takes: the edge itself is the only one who wants its lock.
	lockDelay = time.Millisecond
)

// publisher keeps an edge's session and record. All of it is done by one goroutine.
type publisher struct {
	*Edge
	local   router.Local
	session string // "": none
	renewed time.Time
	written []byte // what of the record makes a difference
	at      time.Time
	away    bool
}

func (p *publisher) run(ctx context.Context) {
	ticker := time.NewTicker(p.opts.Publish)
	defer ticker.Stop()
	pause := firstPause
	for now := true; ; {
		err := p.turn(ctx, now)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			pause, p.away = firstPause, false
		default:
			if !p.away {
				p.space.opts.Log.Warn("register the edge at Consul", "error", err)
			}
			p.away, p.at = true, time.Time{}
			if consulapi.Sleep(ctx, pause) != nil {
				return
			}
			pause = min(2*pause, longPause)
		}
		now = err != nil
		select {
		case <-p.kick:
			now = true
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// turn renews the session when it is time, and writes the record if it has changed.
func (p *publisher) turn(ctx context.Context, now bool) error {
	if err := p.keepSession(ctx); err != nil {
		return err
	}
	r, err := p.record(ctx)
	if err != nil {
		return err
	}
	plain, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if !now && bytes.Equal(plain, p.written) && time.Since(p.at) < max(beat, p.opts.Publish) {
		return nil
	}
	r.At = time.Now().UTC()
	value, err := encode(r)
	if err != nil {
		return err
	}
	if len(value) > largest {
		for i := range r.Edge.Nodes {
			r.Edge.Nodes[i].Latency = router.Histogram{}
		}
		if value, err = encode(r); err != nil {
			return err
		}
	}
	if err := p.write(ctx, value); err != nil {
		return err
	}
	p.written, p.at = plain, r.At
	return nil
}

// record is the edge's record without its time.
func (p *publisher) record(ctx context.Context) (edgeRecord, error) {
	// What is said of tables is taken first: a reading that is older than a confirmation must not go with it.
	a := p.said()
	o, err := p.local.Observe(ctx)
	if err != nil {
		return edgeRecord{}, err
	}
	if len(o.Edges) != 1 {
		return edgeRecord{}, fmt.Errorf("the data plane shows %d edges", len(o.Edges))
	}
	r := edgeRecord{
		Schema: schema, Program: p.opts.Program, Every: max(beat, p.opts.Publish), Edge: o.Edges[0],
		Trial: a.trial, TrialFault: a.trialFault, Refused: a.refused, RefusedFault: a.fault,
	}
	r.Edge.Host, _ = os.Hostname()
	return r, nil
}

// errSession: the session ended at Consul.
var errSession = errors.New("the edge's session is gone at Consul")

// keepSession makes sure of a session, and renews it three times in its time.
func (p *publisher) keepSession(ctx context.Context) error {
	if p.session != "" && time.Since(p.renewed) < p.opts.TTL/3 {
		return nil
	}
	began := time.Now()
	return p.once(ctx, func(ctx context.Context) error {
		if p.session != "" {
			entry, _, err := p.client.Session().Renew(p.session, writing(ctx))
			switch {
			case err != nil:
				return err
			case entry != nil:
				p.renewed = began
				return nil
			}
			p.session = ""
		}
		id, _ := p.local.Edge()
		session, _, err := p.client.Session().CreateNoChecks(&api.SessionEntry{
			Name: "release: edge " + id, TTL: p.opts.TTL.String(), LockDelay: lockDelay, Behavior: api.SessionBehaviorRelease,
		}, writing(ctx))
		if err == nil {
			p.session, p.renewed, p.at = session, began, time.Time{}
		}
		return err
	})
}

// write puts the record under the session's lock.
func (p *publisher) write(ctx context.Context, value []byte) error {
	id, _ := p.local.Edge()
	var ours bool
	err := p.once(ctx, func(ctx context.Context) (err error) {
		ours, _, err = p.client.KV().Acquire(&api.KVPair{Key: p.edgeKey(id), Value: value, Session: p.session}, writing(ctx))
		return err
	})
	var status api.StatusError
	switch {
	case err != nil && errors.As(err, &status) && status.Code == http.StatusInternalServerError && strings.Contains(status.Body, "invalid session"):
		p.session = ""
		return errSession
	case err != nil || ours:
		return err
	}
	return p.evict(ctx, p.edgeKey(id))
}

// evict ends the session of whoever has this edge's lock: one process works in the edge's folder, so it is one that ended, or
// hands over to this one.
func (p *publisher) evict(ctx context.Context, key string) error {
	pair, err := p.get(ctx, key)
	if err != nil {
		return err
	}
	if pair != nil && pair.Session != "" && pair.Session != p.session {
		if err := p.once(ctx, func(ctx context.Context) error {
			_, err := p.client.Session().Destroy(pair.Session, writing(ctx))
			return err
		}); err != nil {
			return err
		}
	}
	return errTaken
}

// errTaken makes the publisher write once more.
var errTaken = errors.New("an earlier process of the edge is still registered")

// Leave removes the edge's record: it stopped in order, and serves nothing any more.
func (e *Edge) Leave(ctx context.Context, local router.Local) {
	id, _ := local.Edge()
	pair, err := e.get(ctx, e.edgeKey(id))
	if err == nil && pair != nil {
		err = e.try(ctx, func(ctx context.Context) error {
			_, err := e.client.KV().Delete(pair.Key, writing(ctx))
			return err
		})
		if err == nil && pair.Session != "" {
			err = e.try(ctx, func(ctx context.Context) error {
				_, err := e.client.Session().Destroy(pair.Session, writing(ctx))
				return err
			})
		}
	}
	if err != nil {
		e.space.opts.Log.Warn("the edge could not take leave of Consul, which holds it for silent", "edge", id,
			"error", err, "then", "release router forget "+id)
	}
}
