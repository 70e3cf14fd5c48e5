package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/bootandshoot/release/router"
)

// Client speaks to the router process of a state folder. It is safe for concurrent use and holds no state but idle
// connections: it may be made before the router runs and outlives its restarts.
type Client struct {
	dir  string
	http *http.Client
}

var _ router.Backend = (*Client)(nil)

// NewClient returns the client of the router in dir. It does not connect yet.
func NewClient(dir string) *Client {
	dial := func(ctx context.Context) (net.Conn, error) { return dialControl(ctx, dir) }
	return &Client{dir: dir, http: &http.Client{Transport: &controlTransport{dial: dial}}}
}

// newConnClient speaks over one connection that is already open, and fails once it is gone. It is for one call at a time.
func newConnClient(conn net.Conn) *Client {
	return &Client{http: &http.Client{Transport: &controlTransport{idle: []*controlConn{newControlConn(conn)}}}}
}

// Dir is the state folder of the router.
func (c *Client) Dir() string { return c.dir }

// Close drops idle connections; the router goes on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Apply implements router.Backend.
func (c *Client) Apply(ctx context.Context, t router.Table) error {
	return c.call(ctx, http.MethodPost, applyPath, t, nil)
}

// Applied implements router.Backend.
func (c *Client) Applied(ctx context.Context) (router.Table, error) {
	var t router.Table
	err := c.call(ctx, http.MethodGet, "/v1/applied", nil, &t)
	return t, err
}

// Observe implements router.Backend. A router that does not answer gives no edges and ErrUnavailable.
func (c *Client) Observe(ctx context.Context) (router.Observation, error) {
	var o router.Observation
	err := c.call(ctx, http.MethodGet, "/v1/observe", nil, &o)
	return o, err
}

// Status says what the process is and does; ErrUnavailable when none answers.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
	return s, err
}

// Cut ends the upgraded connections (WebSockets) that the router holds to a node, and says how many.
func (c *Client) Cut(ctx context.Context, fleet, node string) (int, error) {
	var out cutAnswer
	err := c.call(ctx, http.MethodPost, "/v1/cut", cutRequest{Fleet: fleet, Node: node}, &out)
	return out.Cut, err
}

// Upgrade replaces the process by one of the executable exe, handing over its listening sockets; the status is the
// successor's. On error the old process goes on as before.
func (c *Client) Upgrade(ctx context.Context, exe string) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodPost, "/v1/upgrade", upgradeRequest{Exe: exe}, &s)
	c.http.CloseIdleConnections() // they lead to the predecessor
	return s, err
}

// Stop asks the process to stop gracefully and returns when it is gone or ctx ends. No router running is success.
func (c *Client) Stop(ctx context.Context) error {
	err := c.call(ctx, http.MethodPost, "/v1/stop", nil, nil)
	if errors.Is(err, router.ErrUnavailable) {
		return nil
	}
	if err != nil {
		return err
	}
	return waitUnlocked(ctx, c.dir)
}

// Metrics is the router's Prometheus text.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	var b bytes.Buffer
	err := c.call(ctx, http.MethodGet, "/metrics", nil, &b)
	return b.Bytes(), err
}

// call sends in as JSON and reads the answer into out: a value for JSON, a *bytes.Buffer for the bytes.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("ask router: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://router"+path, body)
	if err != nil {
		return fmt.Errorf("ask router: %w", err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.unavailable(ctx, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxMessage))
	if err != nil {
		return c.unavailable(ctx, path, err)
	}
	if res.StatusCode != http.StatusOK {
		return decodeError(res.StatusCode, b)
	}
	return decodeInto(b, out)
}

func (c *Client) unavailable(ctx context.Context, path string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("ask router (%s): %w", path, ctx.Err())
	}
	return fmt.Errorf("ask router in %s (%s): %w: %w", c.dir, path, router.ErrUnavailable, err)
}

func decodeInto(b []byte, out any) error {
	switch out := out.(type) {
	case nil:
		return nil
	case *bytes.Buffer:
		out.Write(b)
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("read router's answer: %w", err)
	}
	return nil
}
