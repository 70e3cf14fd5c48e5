package embedded

import (
	"errors"
	"net"
	"os"
)

const (
	maxConnectTries = 8 // a refused connection costs next to nothing
	maxTries        = 3 // for requests that a node may have seen
)

// send brings the request to one node after another until one begins to answer, as far as repeating is allowed.
func (x *exchange) send() (*answer, error) {
	if x.body != nil {
		if err := x.body.check(); err != nil {
			return nil, err
		}
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
		a, err := x.attempt()
		if err == nil {
			return a, nil
		}
		if last, err = x.settle(err); err != nil {
			return nil, err
		}
	}
}

// try sends the request to the node.
func (x *exchange) try() (*answer, error) {
	x.tries++
	x.node.stats.requests.Add(1)
	x.conn, x.begun = nil, false
	if x.route.route.Nodes == "h2c" {
		return x.tryH2C()
	}
	return x.tryHTTP1()
}

// settle counts a failed try and gives the node up. The second error ends the exchange; the first one is for when there
// turns out to be no other node.
func (x *exchange) settle(failed error) (last, final error) {
	if errors.Is(failed, errCut) {
		return nil, failed
	}
	why, stale := x.note(failed)
	if stale {
		x.release()
		return failed, nil
	}
	if why == causeClient {
		return nil, errors.Join(errClient, x.body.failure(), failed)
	}
	x.lastCause = why
	if !errors.Is(failed, errTakenBack) && !x.mayRepeat(why) {
		return nil, failed
	}
	x.choice.tried = append(x.choice.tried, x.node)
	x.release()
	x.route.stats.retried.Add(1)
	return failed, nil
}

// note counts a failed try, and says why it failed; stale is no failure, nor is what was ended in order.
func (x *exchange) note(failed error) (why cause, stale bool) {
	if errors.Is(failed, errCut) {
		return why, false
	}
	if why = x.classify(failed); why == causeReset && x.stale() {
		x.node.stats.requests.Add(^uint64(0)) // it never got there
		return why, true
	}
	x.countFailure(why)
	if why == causeLocal || errors.Is(failed, errTooLargeForNode) {
		x.node.stats.requests.Add(^uint64(0))
	}
	return why, false
}

// stale says that the node closed an idle connection just before the request reached it: once, the request goes out again
// on a new one.
func (x *exchange) stale() bool {
	if x.fresh || x.begun || x.conn == nil || !x.conn.unseen() || !x.body.repeatable() {
		return false
	}
	x.fresh = true
	return true
}

// secondChance lets a request that may be repeated go to a node that broke off once more, when there is no other node.
func (x *exchange) secondChance() bool {
	if x.again || x.lastCause != causeReset && x.lastCause != causeRefused {
		return false
	}
	x.again, x.fresh = true, true
	x.choice.tried = x.choice.tried[:0]
	return true
}

// idempotent is RFC 9110, 9.2.2.
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

func (x *exchange) classify(err error) cause {
	if x.ctx.Err() != nil || x.body.clientFailed() || errors.Is(err, errClient) || errors.Is(err, errTooLargeForNode) {
		return causeClient
	}
	if exhausted(err) {
		return causeLocal
	}
	switch {
	case errors.Is(err, errFailed):
		return causeFailed
	case errors.Is(err, errRefused):
		return causeRefused
	case errors.Is(err, errUnreached):
		return causeConnect
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return causeConnect
	}
	var timeout net.Error
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return causeTimeout
	}
	return causeReset
}

func (x *exchange) countFailure(why cause) {
	if why == causeClient || why == causeLocal {
		return
	}
	counted := why
	switch why {
	case causeFailed:
		counted = causeTimeout
	case causeRefused:
		counted = causeReset
	}
	x.node.stats.fail(counted)
	x.target.stats.failed[counted].Add(1)
	switch why {
	case causeConnect:
		x.connect++
		x.node.unreachable(instant(x.e.now()))
	case causeRefused: // a node that goes away in order, or has enough to do: it is not ill
		x.refused++
		x.node.skipUntil.CompareAndSwap(0, instant(x.e.now())+int64(firstSkip)) // others get what comes next, where there are others
	default:
		x.ill()
	}
}

// ill counts against the node's health.
func (x *exchange) ill() { x.node.ill(x.target, x.route.limits.ejectAfter, instant(x.e.now())) }

// seen is how many nodes may have seen the request.
func (x *exchange) seen() int { return x.tries - x.connect - x.refused }

// mayRepeat: a request that no node can have seen, or that one gave back, may go to another one, once whatever the route's budget
// says, so that none is lost because a node has just died; one that a node may have seen only if it has not begun to answer and
// repeating does no harm. All but that one repeat come out of the budget: a fleet in trouble must not get more work, connections
// included.
func (x *exchange) mayRepeat(why cause) bool {
	if !x.body.repeatable() {
		return false
	}
	switch why {
	case causeConnect, causeRefused:
		return x.tries < maxConnectTries && (x.connect+x.refused == 1 || x.route.stats.budget.spend())
	case causeReset, causeFailed:
		return !x.begun && idempotent(x.req.Method) && x.seen() < maxTries && x.route.stats.budget.spend()
	}
	return false
}
