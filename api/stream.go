package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Events hands each event after the given number to see, in order. With follow it goes on until ctx ends or the
// connection breaks; an error of see ends it and is returned.
func (c *Client) Events(ctx context.Context, app App, after uint64, follow bool, see func(Event) error) error {
	return c.EventsOf(ctx, app, EventQuery{After: after, Follow: follow}, see)
}

// EventQuery selects entries of the journal: those after a number, since a time and of some types ("node.died", or "node" for all
// that begin so), and with Follow those to come.
type EventQuery struct {
	After  uint64
	Since  time.Time
	Types  []string
	Follow bool
}

// EventsOf is Events for some entries only.
func (c *Client) EventsOf(ctx context.Context, app App, query EventQuery, see func(Event) error) error {
	q, follow := url.Values{"after": {strconv.FormatUint(query.After, 10)}, "type": query.Types}, query.Follow
	if follow {
		q.Set("follow", "1")
	}
	if !query.Since.IsZero() {
		q.Set("since", query.Since.Format(time.RFC3339Nano))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+app.path("events")+"?"+q.Encode(), nil)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(bufio.NewReader(resp.Body))
	for {
		var e Event
		if err := dec.Decode(&e); err != nil {
			if errors.Is(err, io.EOF) && !follow {
				return nil
			}
			return c.broken(ctx, err)
		}
		if err := see(e); err != nil {
			return err
		}
	}
}

// LogOptions selects lines of a node's output: the last Tail (0: all), those after Since, and with Follow those to come.
type LogOptions struct {
	Tail   int
	Follow bool
	Since  time.Time
}

// Logs streams a node's output as lines "time stream text". The caller closes it.
func (c *Client) Logs(ctx context.Context, app App, node string, o LogOptions) (io.ReadCloser, error) {
	q := url.Values{"tail": {strconv.Itoa(o.Tail)}}
	if o.Follow {
		q.Set("follow", "1")
	}
	if !o.Since.IsZero() {
		q.Set("since", o.Since.Format(time.RFC3339Nano))
	}
	path := app.path("nodes", node, "logs") + "?" + q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("read logs: %w", err)
	}
	resp, err := c.send(req)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// CopyOut streams the file or folder at a path of a node as a tar archive. The caller closes it.
func (c *Client) CopyOut(ctx context.Context, app App, node, path string) (io.ReadCloser, error) {
	q := url.Values{"path": {path}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+app.path("nodes", node, "files")+"?"+q.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("copy out of %s: %w", node, err)
	}
	resp, err := c.send(req)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
