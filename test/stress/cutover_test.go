package stress

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/embedded"
	"github.com/bootandshoot/release/router/routertest"
)

// plan is how much is done: cutovers, and after every so many of them something else; requests at least.
type plan struct {
	cutovers                                   int
	rollback, replace, upgrade, kill, agentEnd int
	requests                                   int64
}

func planned() plan {
	if os.Getenv("RELEASE_STRESS") == "full" {
		return plan{cutovers: 100, rollback: 4, replace: 10, upgrade: 10, kill: 10, agentEnd: 25, requests: 1_000_000}
	}
	return plan{cutovers: 3, rollback: 3, replace: 3, upgrade: 2, kill: 3, agentEnd: 2, requests: 3_000}
}

// TestCutovers goes 10, 50, 100 % to fresh fleets of three apps in turn. In between it goes back, replaces and kills nodes, upgrades
// the router, and kills the agent in the middle of a cutover. What may be lost is what a killed node had begun with.
func TestCutovers(t *testing.T) {
	p := planned()
	s := newStage(t)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(done)
		s.m.Run(ctx)
	}()
	defer func() { // before anything is destroyed, also when the test has failed
		stop()
		<-done
	}()
	for i := 1; i <= p.cutovers; i++ {
		a := apps[i%len(apps)]
		if i%p.agentEnd == 0 {
			s.cutoverWithoutAgent(a)
		} else {
			s.cutover(a)
		}
		if i%p.upgrade == 0 {
			s.upgrade()
		}
		if i%p.rollback == 0 {
			s.rollback(a)
		}
		if i%p.replace == 0 {
			s.do(a, "replace", s.serving(a)[0].ID)
		}
		if i%p.kill == 0 {
			s.kill(apps[(i/p.kill)%len(apps)])
		}
		if i%10 == 0 {
			t.Logf("%d cutovers, %d requests, %d losses after %.0f s", i, s.m.Requests.Load(), len(s.m.Lost()), time.Since(began).Seconds())
		}
		if lost, _ := s.lost(); len(lost) > 20 {
			break
		}
		s.wait(p.requests * int64(i) / int64(p.cutovers))
	}
	stop()
	<-done
	took := time.Since(began).Seconds()
	s.judge()
	t.Logf("%d cutovers, %d rollbacks, %d replacements, %d upgrades, %d nodes and %d agents killed; %d requests and %d messages in them in %.0f s (%.0f requests a second): %v",
		p.cutovers, p.cutovers/p.rollback, p.cutovers/p.replace, p.cutovers/p.upgrade, p.cutovers/p.kill, p.cutovers/p.agentEnd, s.m.Requests.Load(),
		s.m.Sent.Load()-s.m.Requests.Load(), took, float64(s.m.Requests.Load())/took, s.m.Kinds())
}

// lost tells what was lost from what died with its node.
func (s *stage) lost() (lost, died []routertest.Loss) {
	for _, loss := range s.m.Lost() {
		if loss.DiedWith(s.deaths) {
			died = append(died, loss)
		} else {
			lost = append(lost, loss)
		}
	}
	return lost, died
}

// judge holds the clients' side against the router's and the agent's, once the clients have ended.
func (s *stage) judge() {
	s.t.Helper()
	lost, died := s.lost()
	for _, loss := range lost[:min(10, len(lost))] {
		s.t.Error("lost:", loss)
	}
	s.t.Logf("lost: %s; died with their nodes: %s; %d streams ended in order before their time", routertest.Tell(lost), routertest.Tell(died), s.m.Ended.Load())
	counted := routertest.Counted(s.t, embedded.NewClient(s.routerDir()))
	if counted.Requests != uint64(s.m.Requests.Load()) {
		s.t.Errorf("the router counts %d requests, %d were sent", counted.Requests, s.m.Requests.Load())
	}
	if counted.Failed > uint64(routertest.CountLost(died)+routertest.CountLost(lost)) || counted.NoNode+counted.Rejected > 0 {
		s.t.Errorf("the router counts more that failed than the clients: %+v", counted)
	}
	s.Until("every stream that was ended to be in the ledger", 2*time.Minute, func() bool { return s.charged().Cut >= uint64(s.m.Ended.Load()) })
	s.t.Logf("the router counts %d failed, %d retried; the operations were charged with %d cut, %d failed, %d retried",
		counted.Failed, counted.Retried, s.charged().Cut, s.charged().Failed, s.charged().Retried)
}
