package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/unixsock"
)

// ErrNoAgent says that nothing answers on the agent's socket, or that the connection broke.
var ErrNoAgent = errors.New("the agent does not answer")

// Client speaks to one agent. Its methods may be used from any goroutine.
type Client struct {
	Socket string
	http   *http.Client
}

// NewClient returns a client of the agent behind the socket; nothing is dialled yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return unixsock.Dial(ctx, socket) }
	return &Client{Socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Agent asks who answers.
func (c *Client) Agent(ctx context.Context) (a Agent, err error) {
	return a, c.call(ctx, http.MethodGet, "/v1/agent", nil, &a)
}

// Stop ends the agent; router and fleets go on.
func (c *Client) Stop(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/agent/stop", nil, nil)
}

// ForgetEdge takes it that an edge, such as the router of another agent, serves nobody any more.
func (c *Client) ForgetEdge(ctx context.Context, ask Forget) error {
	return c.call(ctx, http.MethodPost, "/v1/router/forget", ask, nil)
}

// ForgetHost takes it that a machine is gone for good with all that ran there. It waits for the lease of an agent that died there,
// unless it is only tried.
func (c *Client) ForgetHost(ctx context.Context, ask ForgetHost) (f Forgotten, err error) {
	return f, c.call(ctx, http.MethodPost, "/v1/hosts/forget", ask, &f)
}

// Hosts lists the machines that apps spread their nodes over.
func (c *Client) Hosts(ctx context.Context) ([]Host, error) {
	var h Hosts
	err := c.call(ctx, http.MethodGet, "/v1/hosts", nil, &h)
	return h.Hosts, err
}

// DrainHost has the nodes of a host replaced on others, or takes that back. fault.NotFound for no such host.
func (c *Client) DrainHost(ctx context.Context, ask DrainHost) error {
	return c.call(ctx, http.MethodPost, "/v1/hosts/drain", ask, nil)
}

// Apps lists all apps and environments that the agent knows.
func (c *Client) Apps(ctx context.Context) ([]App, error) {
	var a Apps
	err := c.call(ctx, http.MethodGet, "/v1/apps", nil, &a)
	return a.Apps, err
}

// Submit begins an operation, or attaches to the same one under way. fault.Busy: another one holds the lock.
func (c *Client) Submit(ctx context.Context, app App, r Request) (s Submitted, err error) {
	return s, c.call(ctx, http.MethodPost, app.path("operations"), r, &s)
}

// Plan says what a request would do. Errors are those of Submit; a freeze is in the plan, unless the request is a dry run.
func (c *Client) Plan(ctx context.Context, app App, r Request) (p Plan, err error) {
	return p, c.call(ctx, http.MethodPost, app.path("plan"), r, &p)
}

// Steer says a word to the operation under way, or that none may begin. fault.NotFound: there is nothing to steer; fault.Denied:
// the caller may not approve; fault.NeedsPerson: an abort needs Force.
func (c *Client) Steer(ctx context.Context, app App, s Steer) (done Steered, err error) {
	return done, c.call(ctx, http.MethodPost, app.path("steer"), s, &done)
}

// Operation reads one operation. With wait it answers when the operation has ended or the time is over.
func (c *Client) Operation(ctx context.Context, app App, id string, wait time.Duration) (o Operation, err error) {
	path := app.path("operations", id) + "?wait=" + strconv.FormatFloat(wait.Seconds(), 'f', 3, 64)
	return o, c.call(ctx, http.MethodGet, path, nil, &o)
}

// History lists the operations that ended, the newest first.
func (c *Client) History(ctx context.Context, app App) ([]Operation, error) {
	var h History
	err := c.call(ctx, http.MethodGet, app.path("operations"), nil, &h)
	return h.Operations, err
}

// Releases lists all releases, the oldest first.
func (c *Client) Releases(ctx context.Context, app App) ([]Release, error) {
	var r Releases
	err := c.call(ctx, http.MethodGet, app.path("releases"), nil, &r)
	return r.Releases, err
}

// Status reads an app as it is now.
func (c *Client) Status(ctx context.Context, app App) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, app.path("status"), nil, &s)
}

// Drift compares a node with its image now.
func (c *Client) Drift(ctx context.Context, app App, node string) (d Drift, err error) {
	return d, c.call(ctx, http.MethodGet, app.path("nodes", node, "drift"), nil, &d)
}

// Previous lists nodes that were removed and whose last output is kept; Logs reads it.
func (c *Client) Previous(ctx context.Context, app App) ([]PreviousNode, error) {
	var p Previous
	err := c.call(ctx, http.MethodGet, app.path("previous"), nil, &p)
	return p.Nodes, err
}

// Missing says which of the blobs the agent's image store lacks.
func (c *Client) Missing(ctx context.Context, blobs []Blob) ([]Blob, error) {
	var b Blobs
	err := c.call(ctx, http.MethodPost, "/v1/images/missing", Blobs{Blobs: blobs}, &b)
	return b.Blobs, err
}

// PutBlob uploads a blob; the agent checks its digest.
func (c *Client) PutBlob(ctx context.Context, b Blob, r io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, base+"/v1/blobs/"+b.Digest, r)
	if err != nil {
		return fmt.Errorf("upload %s: %w", b.Digest, err)
	}
	req.ContentLength = b.Size
	return c.do(req, nil)
}

// PutImage makes uploaded blobs an image of the agent's store.
func (c *Client) PutImage(ctx context.Context, digest, name string) error {
	return c.call(ctx, http.MethodPut, "/v1/images/"+digest, ImageName{Name: name}, nil)
}

// base gives requests a host; the dialer ignores it.
const base = "http://agent"

// path is the API's path of something of the app.
func (a App) path(parts ...string) string {
	p := "/v1/apps/" + url.PathEscape(a.App) + "/" + url.PathEscape(a.Env)
	for _, part := range parts {
		p += "/" + url.PathEscape(part)
	}
	return p
}

// call sends in as JSON, if it is not nil, and reads the answer into out, if that is not nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("ask agent: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return fmt.Errorf("ask agent: %w", err)
	}
	return c.do(req, out)
}

func (c *Client) do(req *http.Request, out any) error {
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return c.broken(req.Context(), err)
	}
	return nil
}

// send returns the answer when it is a success; the caller closes its body.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.broken(req.Context(), err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, failure(resp)
}

// failure is the error that an answer carries.
func failure(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var f Failed
	if err := json.Unmarshal(body, &f); err != nil || f.Error == nil {
		return fmt.Errorf("ask agent: unexpected answer %s: %.200s", resp.Status, body)
	}
	return f.Error.Fault()
}

// broken tells a caller that gave up from a connection that broke.
func (c *Client) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := fault.New(fault.Unavailable, "ask the agent at %s: %v", c.Socket, err)
	e.Cause = errors.Join(ErrNoAgent, err)
	return e.WithHint("the same command again goes on where this one was; release status shows what runs")
}
