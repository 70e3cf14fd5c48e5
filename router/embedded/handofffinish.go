package embedded

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// awaitUpgrade lets one that is under way end, and says whether this process has handed over. None begins after a stop.
func (p *process) awaitUpgrade() bool {
	p.op.Lock()
	defer p.op.Unlock()
	return p.handed
}

// stopSuccessor passes on a stop that came while it took over.
func (p *process) stopSuccessor(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), showPatience)
	defer cancel()
	c := NewClient(p.cfg.Dir)
	defer c.Close()
	if err := c.call(ctx, http.MethodPost, "/v1/stop", nil, nil); err != nil {
		p.log.Error("the new process was not told to stop", "error", err)
	}
}

// finish serves the last connections after a handover, until none is left and the successor has read the counters, or
// the deadline is over. A successor that only does not ask is waited for; one that ended leaves nobody to bring new tables: then this ends as at a stop.
func (p *process) finish(ctx context.Context, successor net.Conn) error {
	p.log.Info("router handed over", "connections", p.e.conns.Load())
	gone := p.serveSuccessor(successor)
	deadline := time.NewTimer(p.cfg.HandoffTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	look := time.NewTicker(sweepEvery)
	defer look.Stop()
	for {
		select {
		case <-tick.C:
			p.e.tidy()
		case now := <-look.C:
			p.processors.look(now)
		case <-gone:
			if p.e.drained() {
				return nil
			}
			p.log.Warn("the process after this one has gone: this one ends as well", "connections", p.e.conns.Load())
			return p.shutdown(p.cfg.StopTimeout)
		case <-p.stopping:
			err := p.shutdown(p.cfg.StopTimeout)
			awaitClosed(gone)
			return err
		case <-deadline.C:
			// Not at once: clients of h2 are told that their connections go before streams begin to end, and telling takes goAwayGrace.
			err := p.shutdown(2 * goAwayGrace)
			awaitClosed(gone)
			return err
		case <-ctx.Done():
			p.stop()
		}
	}
}

// awaitClosed leaves the successor time to read the last counters.
func awaitClosed(gone <-chan struct{}) {
	select {
	case <-gone:
	case <-time.After(absorbPatience):
	}
}

// serveSuccessor answers the successor's questions; the channel is closed when it broke off.
func (p *process) serveSuccessor(conn net.Conn) <-chan struct{} {
	gone := make(chan struct{})
	var once sync.Once
	queue := newConnQueue(conn.LocalAddr())
	server := &http.Server{
		Handler: p.successorRoutes(), ErrorLog: serverLog(p.log), // and no time-outs: a pause of either process is no end
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed {
				once.Do(func() { close(gone) })
			}
		},
	}
	go func() { _ = server.Serve(queue) }()
	queue.put(conn) // there is: nothing closes it
	return gone
}
