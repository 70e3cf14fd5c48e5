package embedded

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxIdleControl is how many connections to the control socket are kept for the next call.
const maxIdleControl = 2

// controlTransport puts a question and reads its answer in the goroutine that asks. Beside http.Transport, with two more for each
// connection, it takes little from the machine that the router serves on; and it does not give up a connection whose answer was
// there before the end of its own write was known, as happens on a busy machine.
type controlTransport struct {
	dial func(context.Context) (net.Conn, error) // nil: there are only the connections it was made with

	mu   sync.Mutex
	idle []*controlConn
}

type controlConn struct {
	net.Conn
	answers *bufio.Reader
	used    bool // before
}

func newControlConn(conn net.Conn) *controlConn {
	return &controlConn{Conn: conn, answers: bufio.NewReader(conn)}
}

// errNoConnection: the only connection is gone, or has a question under way.
var errNoConnection = errors.New("there is no connection")

// RoundTrip implements http.RoundTripper. A question that may be put twice is put again where a connection from before went
// stale. The answer's body must be closed before its connection takes the next question.
func (t *controlTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	for {
		if gone := req.Context().Err(); gone != nil {
			return nil, gone // it is not put at all
		}
		c, err := t.take(req.Context(), mayAskAgain(req))
		if err != nil {
			return nil, err
		}
		res, err := t.ask(c, req)
		if err == nil {
			return res, nil
		}
		_ = c.Close()
		if gone := req.Context().Err(); gone != nil {
			return nil, gone
		}
		if !c.used || t.dial == nil {
			return nil, err
		}
		if req.GetBody != nil {
			req = req.Clone(req.Context())
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// mayAskAgain says that a question changes nothing the second time. Others get a connection of their own, which is not stale.
func mayAskAgain(req *http.Request) bool {
	return req.Method == http.MethodGet || req.URL.Path == applyPath || req.URL.Path == followPath
}

// take gives a connection that nobody uses, one from before if it may.
func (t *controlTransport) take(ctx context.Context, before bool) (*controlConn, error) {
	t.mu.Lock()
	if last := len(t.idle) - 1; last >= 0 && (before || t.dial == nil) {
		c := t.idle[last]
		t.idle = t.idle[:last]
		t.mu.Unlock()
		return c, nil
	}
	t.mu.Unlock()
	if t.dial == nil {
		return nil, errNoConnection
	}
	conn, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	return newControlConn(conn), nil
}

// ask puts the question and reads the answer's head.
func (t *controlTransport) ask(c *controlConn, req *http.Request) (*http.Response, error) {
	stop := context.AfterFunc(req.Context(), func() { _ = c.SetDeadline(longAgo) })
	unsent := req.Write(c) // one that is refused before its end has an answer nevertheless
	res, err := http.ReadResponse(c.answers, req)
	if err != nil {
		stop()
		return nil, errors.Join(unsent, err)
	}
	res.Body = &controlBody{ReadCloser: res.Body, done: func(whole bool) {
		if !stop() || !whole || unsent != nil || res.Close {
			_ = c.Close()
			return
		}
		t.keep(c)
	}}
	return res, nil
}

// longAgo as a deadline ends what waits for a connection.
var longAgo = time.Unix(1, 0)

// keep is for a connection that may take the next question.
func (t *controlTransport) keep(c *controlConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle) == maxIdleControl {
		_ = c.Close()
		return
	}
	c.used = true
	t.idle = append(t.idle, c)
}

// CloseIdleConnections is what http.Client.CloseIdleConnections asks for.
func (t *controlTransport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.idle {
		_ = c.Close()
	}
	t.idle = nil
}

// controlBody says once whether an answer was read to its end.
type controlBody struct {
	io.ReadCloser
	done func(whole bool)
}

func (b *controlBody) Close() error {
	err := b.ReadCloser.Close() // reads the rest
	if b.done != nil {
		b.done(err == nil)
		b.done = nil
	}
	return err
}
