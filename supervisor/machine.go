package supervisor

import (
	"fmt"
	"slices"
	"time"
)

// The restart times of the package's documentation.
const (
	firstDelay = time.Second
	lastDelay  = 30 * time.Second
	provedTime = 10 * time.Second
)

// ActionKind is what is to be done with a service.
type ActionKind string

// Kinds of actions.
const (
	Start  ActionKind = "start"
	Signal ActionKind = "signal" // send it the signal
	Kill   ActionKind = "kill"   // end all that is left of it
	Say    ActionKind = "say"    // tell people
)

// Action is one thing to do.
type Action struct {
	Kind    ActionKind
	Service string
	Signal  string // name without SIG
	Text    string // of Say
}

// Status is how a service ended.
type Status struct {
	Code   int    // exit code; 128 + signal; 126 or 127 when it could not be started
	Reason string // for people: "signal KILL", "could not start: …"; "" for a plain exit
}

func (s Status) String() string {
	if s.Reason != "" {
		return s.Reason
	}
	return fmt.Sprintf("exit code %d", s.Code)
}

type phase int

const (
	running phase = iota
	waiting       // for its next start
	stopping
	ended
)

// unit is one service with what is known of it.
type unit struct {
	Service
	phase phase
	since time.Time     // running: its start
	at    time.Time     // waiting: its next start; stopping: when it is killed, zero once it was
	delay time.Duration // before its last start; 0 after it proved itself
}

// Machine is the state of all services. It has no clock and starts nothing: each call says what happened, and when, and
// gets what is to be done, in order. The actions count as done: one that fails is an event of its own (Ended).
type Machine struct {
	units []*unit // in the order of starting
	down  bool    // the whole is stopping
	code  int
}

// New takes a checked Config.
func New(c Config) (*Machine, error) {
	order, err := Order(c.Services)
	if err != nil {
		return nil, err
	}
	m := &Machine{}
	for _, s := range order {
		m.units = append(m.units, &unit{Service: s, phase: ended})
	}
	return m, nil
}

// Begin starts all services.
func (m *Machine) Begin(now time.Time) []Action {
	var do []Action
	for _, u := range m.units {
		do = append(do, u.start(now))
	}
	return do
}

func (u *unit) start(now time.Time) Action {
	u.phase, u.since = running, now
	return Action{Kind: Start, Service: u.Name}
}

// Ended tells that a service's first process ended, or could not be started.
func (m *Machine) Ended(now time.Time, name string, s Status) []Action {
	u := m.unit(name)
	if u == nil || u.phase == ended || u.phase == waiting {
		return nil
	}
	switch {
	case m.down:
		u.phase = ended
		return m.stopMore(now)
	case u.Restart == Always, u.Restart == OnFailure && s.Code != 0:
		return []Action{u.again(now, s)}
	}
	u.phase = ended
	if u.Restart == OnFailure {
		return nil
	}
	m.down, m.code = true, s.Code
	return append([]Action{u.say("ended with %s, so all end", s)}, m.stopMore(now)...)
}

// again plans the next start.
func (u *unit) again(now time.Time, s Status) Action {
	if now.Sub(u.since) >= provedTime {
		u.delay = 0
	}
	u.delay = min(max(2*u.delay, firstDelay), lastDelay)
	u.phase, u.at = waiting, now.Add(u.delay)
	return u.say("ended with %s, starts again in %s", s, u.delay)
}

func (u *unit) say(format string, args ...any) Action {
	return Action{Kind: Say, Service: u.Name, Text: fmt.Sprintf(format, args...)}
}

// Stop begins to stop all; once begun, a second call changes nothing.
func (m *Machine) Stop(now time.Time) []Action {
	if m.down {
		return nil
	}
	m.down = true
	return m.stopMore(now)
}

// stopMore stops what nothing that still runs comes after.
func (m *Machine) stopMore(now time.Time) []Action {
	var do []Action
	for _, u := range slices.Backward(m.units) {
		if u.phase == waiting {
			u.phase = ended
		}
		if u.phase != running || m.needed(u) {
			continue
		}
		u.phase, u.at = stopping, now.Add(u.grace())
		do = append(do, Action{Kind: Signal, Service: u.Name, Signal: u.stopSignal()})
	}
	return do
}

// needed reports whether a service that has not ended comes after u, over whatever others.
func (m *Machine) needed(u *unit) bool {
	for _, other := range m.units {
		if slices.Contains(other.After, u.Name) && (other.phase != ended && other.phase != waiting || m.needed(other)) {
			return true
		}
	}
	return false
}

func (u *unit) grace() time.Duration {
	if u.Service.Stop.Grace > 0 {
		return time.Duration(u.Service.Stop.Grace)
	}
	return DefaultGrace
}

func (u *unit) stopSignal() string {
	if u.Service.Stop.Signal != "" {
		return u.Service.Stop.Signal
	}
	return "TERM"
}

// Forward passes a signal on to all that run.
func (m *Machine) Forward(signal string) []Action {
	var do []Action
	for _, u := range m.units {
		if u.phase == running || u.phase == stopping {
			do = append(do, Action{Kind: Signal, Service: u.Name, Signal: signal})
		}
	}
	return do
}

// Due gives what the time has come for.
func (m *Machine) Due(now time.Time) []Action {
	var do []Action
	for _, u := range m.units {
		switch {
		case u.at.IsZero() || u.at.After(now):
		case u.phase == waiting:
			do = append(do, u.start(now))
		case u.phase == stopping:
			u.at = time.Time{}
			do = append(do, u.say("did not end within %s and is killed", u.grace()), Action{Kind: Kill, Service: u.Name})
		}
	}
	return do
}

// Next is when Due has something to do; false while only something that happens can bring it.
func (m *Machine) Next() (time.Time, bool) {
	var next time.Time
	for _, u := range m.units {
		if (u.phase == waiting || u.phase == stopping) && !u.at.IsZero() && (next.IsZero() || u.at.Before(next)) {
			next = u.at
		}
	}
	return next, !next.IsZero()
}

// Done reports whether all is over, and the exit code of the whole.
func (m *Machine) Done() (code int, done bool) {
	for _, u := range m.units {
		if u.phase != ended {
			return 0, false
		}
	}
	return m.code, true
}

func (m *Machine) unit(name string) *unit {
	for _, u := range m.units {
		if u.Name == name {
			return u
		}
	}
	return nil
}
