package embedded

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
)

const (
	maxConnectTries = 8 // a refused connection costs next to nothing
	maxTries        = 3 // for requests that a node may have seen
)

var (
	errNoNode  = errors.New("no node can take the request")
	errClient  = errors.New("the client's part of the request broke")
	errNoRoute = errors.New("no route for the request")
)

// RoundTrip sends the request to one node after another until one begins to answer, as far as repeating is allowed.
func (x *exchange) RoundTrip(out *http.Request) (*http.Response, error) {
	var body *replay
	if out.Body != nil && out.Body != http.NoBody {
		body = newReplay(out.Body)
	}
	var last error
	for {
		if err := x.acquire(); err != nil {
			if last == nil {
				return nil, err
			}
			if !x.secondChance() {
				return nil, last
			}
			continue
		}
		res, err := x.try(out, body)
		if err == nil {
			return x.accept(out, res), nil
		}
		if last, err = x.settle(out, body, err); err != nil {
			return nil, err
		}
	}
}

// settle counts a failed try and gives the node up. The second error ends the exchange; the first one is for when there
// turns out to be no other node.
func (x *exchange) settle(out *http.Request, body *replay, failed error) (last, final error) {
	why := x.classify(out.Context(), body, failed)
	if why == causeReset && x.stale(body) {
		x.node.stats.requests.Add(^uint64(0)) // it never got there
		x.release()
		return failed, nil
	}
	x.countFailure(why)
	if why == causeClient {
		return nil, errors.Join(errClient, failed)
	}
	if !x.mayRepeat(out, body, why) {
		return nil, failed
	}
	x.lastCause = why
	x.choice.tried = append(x.choice.tried, x.node)
	x.release()
	x.route.stats.retried.Add(1)
	return failed, nil
}

// stale says that the node closed an idle connection just before the request reached it: once, the request goes out again
// on a new one.
func (x *exchange) stale(body *replay) bool {
	if x.fresh || x.begun.Load() || x.conn == nil || !x.conn.unseen() {
		return false
	}
	if body != nil {
		if _, err := body.begin(); err != nil {
			return false
		}
	}
	x.fresh = true
	return true
}

// secondChance lets a request that may be repeated go to a node that broke off once more, when there is no other node.
func (x *exchange) secondChance() bool {
	if x.again || x.lastCause != causeReset {
		return false
	}
	x.again, x.fresh = true, true
	x.choice.tried = x.choice.tried[:0]
	return true
}

// try sends the request to the node.
func (x *exchange) try(out *http.Request, body *replay) (*http.Response, error) {
	x.tries++
	x.node.stats.requests.Add(1)
	x.conn = nil
	req := out.WithContext(x.watch(out.Context()))
	url := *out.URL
	url.Scheme, url.Host = "http", x.node.address
	req.URL = &url
	if body != nil {
		attempt, err := body.begin()
		if err != nil {
			return nil, err
		}
		req.Body = attempt
		req.GetBody = body.begin
	}
	return x.transport(out).RoundTrip(req)
}

// watch learns which connection the request goes out on and when the answer begins. ReverseProxy has put a trace into the
// context for this request alone; adding to it saves composing another one, which net/http does by reflection.
func (x *exchange) watch(ctx context.Context) context.Context {
	trace := httptrace.ContextClientTrace(ctx)
	if trace == nil {
		trace = &httptrace.ClientTrace{}
		ctx = httptrace.WithClientTrace(ctx, trace)
	}
	if trace.GotConn == nil {
		trace.GotFirstResponseByte = func() { x.begun.Store(true) }
		trace.GotConn = x.gotConn
	}
	return ctx
}

func (x *exchange) gotConn(info httptrace.GotConnInfo) {
	if c, ok := info.Conn.(*nodeConn); ok {
		c.begin()
		x.conn = c
	}
}

func (x *exchange) transport(out *http.Request) http.RoundTripper {
	switch {
	case x.fresh:
		return x.node.fresh
	case idempotent(out.Method):
		return x.node.repeatable
	case x.node.hastyUntil.Load() > x.choice.now:
		return x.node.fresh
	}
	return x.node.careful
}

// idempotent is RFC 9110, 9.2.2.
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

func (x *exchange) classify(ctx context.Context, body *replay, err error) cause {
	if ctx.Err() != nil || body != nil && body.clientFailed() {
		return causeClient
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return causeConnect
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return causeTimeout
	}
	return causeReset
}

func (x *exchange) countFailure(why cause) {
	if why == causeClient {
		return
	}
	x.node.stats.fail(why)
	x.target.stats.failed[why].Add(1)
	if why == causeConnect {
		x.connect++
		x.node.unreachable(x.e.now().UnixNano())
	}
}

// mayRepeat: a request that no node can have seen may always go to another one; one that a node may have seen only if
// it has not begun to answer, repeating does no harm, and the route's budget allows it.
func (x *exchange) mayRepeat(out *http.Request, body *replay, why cause) bool {
	if body != nil {
		if _, err := body.begin(); err != nil {
			return false
		}
	}
	switch why {
	case causeConnect:
		return x.tries < maxConnectTries
	case causeReset:
		return !x.begun.Load() && idempotent(out.Method) && x.tries-x.connect < maxTries && x.route.stats.budget.spend()
	}
	return false
}
