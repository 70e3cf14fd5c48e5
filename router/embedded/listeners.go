package embedded

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bootandshoot/release/router"
)

// listeners is the set of open listen addresses. Its methods are called with engine.mu held; states may be read at
// any time.
type listeners struct {
	e      *engine
	mu     sync.Mutex
	open   map[string]*listener
	failed map[string]string // listen address → why it does not serve
	given  []given           // by a service manager
	held   bool              // nothing is accepted yet: it is the predecessor's turn
}

func newListeners(e *engine) *listeners {
	return &listeners{e: e, open: map[string]*listener{}, failed: map[string]string{}}
}

// opening is what was opened for a table.
type opening struct {
	addresses []string
	displaced []*listener // of ours, which gave way
}

// openNew opens what the table needs beyond what is open, or nothing at all. What the same routes needed before and does not open
// goes on failing: it is no reason to refuse a table that changes something else. For a trial nothing that serves gives way.
func (s *listeners) openNew(c *compiled, trial bool) (*opening, error) {
	opened := &opening{}
	before := map[routeListen]bool{}
	if old := s.e.current.Load(); old != nil {
		for i := range old.table.Routes {
			for _, n := range needs(&old.table.Routes[i]) {
				before[n] = true
			}
		}
	}
	fresh := map[string]*router.Route{} // listen address → the first route that is new there
	for i := range c.table.Routes {
		r := &c.table.Routes[i]
		for _, n := range needs(r) {
			if !before[n] && fresh[n.listen] == nil {
				fresh[n.listen] = r
			}
		}
	}
	for _, address := range slices.Sorted(maps.Keys(c.listens)) {
		if s.has(address) {
			continue
		}
		route := fresh[address]
		if route == nil {
			if !trial {
				s.try(c, address)
			}
			continue
		}
		if err := s.openOne(c, address, opened, trial); err != nil {
			s.undo(opened)
			return nil, listenFault(route, address, err)
		}
	}
	return opened, nil
}

// routeListen is that a route needs a listen address.
type routeListen struct{ route, listen string }

func needs(r *router.Route) []routeListen {
	list := []routeListen{{r.Name, r.Listen}}
	if r.TLS != nil && r.TLS.Redirect != "" {
		list = append(list, routeListen{r.Name, r.TLS.Redirect})
	}
	return list
}

// openAll opens what it can.
func (s *listeners) openAll(c *compiled) {
	for address := range c.listens {
		if !s.has(address) {
			s.try(c, address)
		}
	}
}

// try opens one address, or remembers why it does not serve.
func (s *listeners) try(c *compiled, address string) {
	err := s.openOne(c, address, &opening{}, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.failed, address)
		return
	}
	if s.failed[address] == "" {
		s.e.log.Error("listen address does not open, it is tried again", "route", c.listens[address].route.Name, "error", err)
	}
	s.failed[address] = err.Error()
}

func (s *listeners) has(address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[address] != nil
}

// at is the open listener of an address, or nil.
func (s *listeners) at(address string) *listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[address]
}

// openOne opens one address. When the port is held by one of our own that the table no longer needs (":80" became
// "127.0.0.1:80"), that one gives way, or would, in a trial.
func (s *listeners) openOne(c *compiled, address string, opened *opening, trial bool) error {
	ln, err := s.listenTCP(address)
	if errors.Is(err, syscall.EADDRINUSE) {
		if way := s.inTheWay(c, address); way != nil {
			if trial {
				return nil
			}
			_ = way.ln.Close()
			if ln, err = listenTCP(address); err != nil {
				s.reopen(way)
				return err
			}
			opened.displaced = append(opened.displaced, way)
		}
	}
	if err != nil {
		return err
	}
	s.adopt(address, ln)
	opened.addresses = append(opened.addresses, address)
	return nil
}

func (s *listeners) inTheWay(c *compiled, address string) *listener {
	_, port, _ := net.SplitHostPort(address)
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, l := range s.open {
		if _, p, _ := net.SplitHostPort(other); p == port && c.listens[other] == nil {
			return l
		}
	}
	return nil
}

// reopen brings back a listener that gave way in vain.
func (s *listeners) reopen(l *listener) {
	ln, err := s.listenTCP(l.address)
	if err != nil {
		s.e.log.Error("listen address was lost", "listen", l.address, "error", err)
		s.mu.Lock()
		s.failed[l.address] = err.Error()
		delete(s.open, l.address)
		s.mu.Unlock()
		return
	}
	s.adopt(l.address, ln)
	s.accept()
}

// adopt keeps an open socket. Connections wait in the kernel until accept is called, so that none finds no route.
func (s *listeners) adopt(address string, ln *net.TCPListener) {
	l := newListener(s.e, address, ln)
	s.mu.Lock()
	s.open[address] = l
	s.mu.Unlock()
}

// accept begins to serve what is open, unless it is another process's turn. It is called once the table is effective.
func (s *listeners) accept() {
	if s.held {
		return
	}
	for _, l := range s.all() {
		l.begin.Do(l.start)
	}
}

// undo closes what openNew opened for a table that is refused after all, and brings back what gave way. Nobody was told that it serves.
func (s *listeners) undo(opened *opening) {
	for _, a := range opened.addresses {
		s.remove(a)
	}
	for _, l := range opened.displaced {
		s.reopen(l)
	}
}

// retain closes what the effective table needs no more: no new connections; those there finish what they have.
func (s *listeners) retain(c *compiled) {
	for _, a := range s.addresses() {
		if c.listens[a] == nil {
			s.remove(a)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.failed {
		if c.listens[a] == nil {
			delete(s.failed, a)
		}
	}
}

func (s *listeners) remove(address string) {
	s.mu.Lock()
	l := s.open[address]
	delete(s.open, address)
	s.mu.Unlock()
	if l == nil {
		return
	}
	_ = l.ln.Close()
	go l.shutdown(s.e.cfg.HandoffTimeout)
}

func (s *listeners) addresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, 0, len(s.open))
	for a := range s.open {
		out = append(out, a)
	}
	slices.Sort(out)
	return out
}

// all is the open listeners.
func (s *listeners) all() []*listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*listener, 0, len(s.open))
	for _, l := range s.open {
		out = append(out, l)
	}
	return out
}

// states lists open and failed addresses.
func (s *listeners) states() []router.ListenerState {
	var out []router.ListenerState
	problems := s.e.certs.Problems()
	for _, a := range s.addresses() {
		out = append(out, router.ListenerState{Listen: a, Warning: problems[a]})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for a, why := range s.failed {
		out = append(out, router.ListenerState{Listen: a, Error: why})
	}
	slices.SortFunc(out, func(a, b router.ListenerState) int { return strings.Compare(a.Listen, b.Listen) })
	return out
}

// finish closes every listener, then their connections as they get idle, until ctx ends.
func (s *listeners) finish(ctx context.Context) {
	var wait sync.WaitGroup
	for _, l := range s.all() {
		_ = l.ln.Close()
		wait.Go(func() { l.finish(ctx) })
	}
	wait.Wait()
}

// cutAll ends whatever connections there are.
func (s *listeners) cutAll() {
	for _, l := range s.all() {
		l.cutAll()
	}
}

// shutdown is finish, at most for the given time, and then cutAll.
func (s *listeners) shutdown(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s.finish(ctx)
	s.cutAll()
}
