package orchestrator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/internal/human"
)

// How what lost its traffic comes to its end. Requests may go on until one deadline, long connections until another; then
// the edges are asked to close those, which takes close_within, and only then it is shot. What is empty is shot at once.

// Drain is how far something has come in that.
type Drain struct {
	LongBy    time.Time `json:"long_by,omitzero"`    // long connections may stay so long; zero: as long as requests
	LateSince time.Time `json:"late_since,omitzero"` // since when the table without it is waited for, if that takes long: no time counts meanwhile
	ClosingAt time.Time `json:"closing_at,omitzero"` // since when the edges are to end long connections
	AskedAt   time.Time `json:"asked_at,omitzero"`   // since when they have all been asked to, by the table in effect
	ToldAt    time.Time `json:"told_at,omitzero"`    // when it was said last how much is left
	ToldLong  int       `json:"told_long,omitempty"` // how many long connections were left then
	Held      string    `json:"held,omitempty"`      // which silent edge keeps it from being shot, as it was said last
	Over      bool      `json:"drained,omitempty"`   // it is empty, or its time is over: it may be shot
}

const (
	// closeSlack is how long beside close_within the edges are waited for: a table and a reading.
	closeSlack = 3 * time.Second
	// tellEvery is how often it is said how many connections are left.
	tellEvery = time.Minute
	// tellChange is by how many the number changes at least before it is said earlier.
	tellChange = 10
)

// left is what nodes still have at the edges.
type left struct {
	unknown  bool // nobody has looked since they left the table
	unasked  bool // some may have long connections that no edge was asked to end yet
	requests int  // that end by themselves
	long     int  // long connections
}

// String is for people; "" for nothing.
func (l left) String() string {
	switch {
	case l.requests > 0 && l.long > 0:
		return human.Count(l.requests, "request") + " and " + human.Count(l.long, "long connection")
	case l.requests > 0:
		return human.Count(l.requests, "request")
	case l.long > 0:
		return human.Count(l.long, "long connection")
	}
	return ""
}

// left sums what nodes have. Those that are dead have nothing any more, whatever an edge has yet to notice.
func (r *round) left(nodes ...*Node) left {
	var l left
	for _, n := range nodes {
		fact := r.f.Nodes[n.Name]
		l.unasked = l.unasked || n.State != NodeDead && !fact.Closing && (fact.Long > 0 || fact.InFlight < 0)
		switch {
		case n.State == NodeDead:
		case fact.InFlight < 0:
			l.unknown = true
		default:
			l.long += fact.Long
			l.requests += max(fact.InFlight-fact.Long, 0)
		}
	}
	return l
}

// closes is when the long connections of something are asked to end that has until by for its requests.
func (d *Drain) closes(by time.Time) time.Time {
	if d.LongBy.IsZero() {
		return by
	}
	return d.LongBy
}

// drained says whether nothing is left, or the time for it is over. tell says a word of the journal on the way.
func (r *round) drained(d *Drain, l left, by time.Time, within time.Duration, tell func(what, format string, args ...any)) bool {
	if d.Over {
		return true
	}
	now := r.f.Now
	requests, long := l.requests > 0 || l.unknown, l.long > 0 || l.unknown
	if long && d.ClosingAt.IsZero() && !now.Before(d.closes(by)) {
		d.ClosingAt = now
		if l.long > 0 {
			tell("closing", "%s closed within %s", human.Are(l.long, "long connection"), human.Span(within))
			d.told(l, now)
		}
	}
	switch {
	case d.ClosingAt.IsZero():
	case l.unasked: // the table that asks for it takes long, or another one is in effect
		d.AskedAt = time.Time{}
	case d.AskedAt.IsZero():
		d.AskedAt = now
	}
	closes := !d.ClosingAt.IsZero() && (d.AskedAt.IsZero() || now.Before(d.AskedAt.Add(within+closeSlack))) // what is being closed may count as a request
	if requests && (now.Before(by) || closes) || long && (d.ClosingAt.IsZero() || closes) {
		r.tellLeft(d, l, by, tell)
		return false
	}
	switch {
	case l.String() != "":
		tell("drained", "its time is over, with %s left", l)
	case !d.ToldAt.IsZero():
		tell("drained", "nothing is left")
	}
	d.Over = true
	return true
}

// tellLeft says how many long connections there are: at first, then each minute, and when their number has changed a lot.
func (r *round) tellLeft(d *Drain, l left, by time.Time, tell func(what, format string, args ...any)) {
	if l.unknown || l.long == 0 && d.ToldAt.IsZero() {
		return
	}
	change := max(l.long-d.ToldLong, d.ToldLong-l.long)
	switch {
	case d.ToldAt.IsZero():
	case change >= max(tellChange, d.ToldLong/2):
	case r.f.Now.Sub(d.ToldAt) >= tellEvery && l.long > 0:
	default:
		return
	}
	d.ToldAt, d.ToldLong = r.f.Now, l.long
	switch {
	case d.ClosingAt.IsZero():
		tell("connections", "%s left, which may stay for %s", human.Are(l.long, "long connection"), human.Span(max(d.closes(by).Sub(r.f.Now), 0)))
	case d.AskedAt.IsZero():
		tell("connections", "%s left, which the edges have not been told to close yet: no table that says so is in effect", human.Are(l.long, "long connection"))
	default:
		tell("connections", "%s left, which are being closed", human.Are(l.long, "long connection"))
	}
}

// held says of something that is to be shot which silent edges keep it from that, once for each.
func (r *round) held(d *Drain, tell func(what, format string, args ...any), nodes ...*Node) {
	why := ""
	for _, n := range nodes {
		why = cmp.Or(why, r.f.Nodes[n.Name].Held)
	}
	if why != "" && why != d.Held {
		tell("held", "it is not shot: %s", why)
	}
	d.Held = why
}

// drainedFleet is drained for a fleet that is out of the table.
func (r *round) drainedFleet(fl *Fleet) bool {
	l := r.left(fl.members()...)
	within := r.s.configOf(fl).Cutover.Drain.CloseWithin.Std()
	return r.drained(&fl.Drain, l, fl.DrainBy, within, func(what, format string, args ...any) {
		r.say(Event{Type: "fleet." + what, Fleet: fl.ID.String(), Release: fl.ID.Release, InFlight: l.requests + l.long, Long: l.long},
			"%s: %s", fl.ID.Release, fmt.Sprintf(format, args...))
	})
}

// drainedNode is drained for a node that left the table.
func (r *round) drainedNode(fl *Fleet, n *Node) bool {
	l := r.left(n)
	within := r.s.configOf(fl).Cutover.Drain.CloseWithin.Std()
	return r.drained(&n.Drain, l, n.LeavesAt, within, func(what, format string, args ...any) {
		r.say(Event{Type: "node." + what, Fleet: fl.ID.String(), Release: fl.ID.Release, Node: n.Name,
			InFlight: l.requests + l.long, Long: l.long}, "%s: %s", n.Name, fmt.Sprintf(format, args...))
	})
}

// drainFrom sets a fleet's deadlines, which count from when it got nothing new any more. That of long connections, once
// set, holds until the fleet serves again: those of a warm fleet do not begin to count anew when it is shot.
func (r *round) drainFrom(fl *Fleet, at time.Time) {
	d := r.s.configOf(fl).Cutover.Drain
	fl.DrainBy = at.Add(d.Timeout.Std())
	if fl.LongBy.IsZero() {
		fl.LongBy = at.Add(d.LongConnections.Std())
	}
}

// lateGrain is from when on a table that takes long stops the time of what leaves it.
const lateGrain = time.Second

// late stops the time of what leaves as long as the table without it is not in effect: it may just have got something. by is the
// deadline of its requests, within their time. It is noted when that begins and when it ends, not in between. What an edge out of
// sight may have is not waited for.
func (r *round) late(d *Drain, by *time.Time, within time.Duration, nodes ...*Node) {
	out := slices.ContainsFunc(nodes, func(n *Node) bool { return n.State == NodeDead || r.f.Nodes[n.Name].Held != "" })
	began := by.Add(-within)
	switch {
	case out:
		r.inTime(d, by)
	case d.LateSince.IsZero() && r.f.Now.Sub(began) >= lateGrain:
		d.LateSince = began
	}
}

// inTime lets the time of what leaves go on: the table without it is in effect, or not waited for. That of long connections goes on
// only if anybody waits for them.
func (r *round) inTime(d *Drain, by *time.Time) {
	if d.LateSince.IsZero() {
		return
	}
	late := r.f.Now.Sub(d.LateSince)
	*by = by.Add(late)
	if d.LongBy.After(d.LateSince) {
		d.LongBy = d.LongBy.Add(late)
	}
	d.LateSince = time.Time{}
}

// staying says what a fleet has and for how long it may, as the end of a sentence.
func (r *round) staying(fl *Fleet) string {
	l := r.left(fl.Nodes...)
	fl.told(l, r.f.Now)
	return l.staying(fl.closes(fl.DrainBy).Sub(r.f.Now))
}

// staying is what is left and for how long, as the end of a sentence; "" for nothing.
func (l left) staying(longFor time.Duration) string {
	stay := fmt.Sprintf("%s, which may stay for %s", human.Count(l.long, "long connection"), human.Span(max(longFor, 0)))
	switch {
	case l.requests > 0 && l.long > 0:
		return fmt.Sprintf(", %s left, and %s", human.Are(l.requests, "request"), stay)
	case l.long > 0:
		return ", with " + stay
	case l.requests > 0:
		return fmt.Sprintf(", %s left", human.Are(l.requests, "request"))
	}
	return ""
}

// told notes that it was said how many long connections are left.
func (d *Drain) told(l left, now time.Time) {
	if l.long > 0 {
		d.ToldAt, d.ToldLong = now, l.long
	}
}

// hurry lets nothing wait for long connections any more: they are closed now.
func (r *round) hurry() {
	sooner := func(d *Drain) {
		now := r.f.Now
		if !d.LateSince.IsZero() {
			now = d.LateSince // time has stood still since
		}
		if d.LongBy.IsZero() || d.LongBy.After(now) {
			d.LongBy = now
		}
	}
	for _, fl := range r.s.Fleets {
		sooner(&fl.Drain)
		for _, n := range fl.Nodes {
			if n.State == NodeDraining {
				sooner(&n.Drain)
			}
		}
	}
}

// waitsFor is what a draining node keeps an operation waiting for, as the end of a sentence.
func (r *round) waitsFor(nodes ...*Node) string {
	draining := slices.DeleteFunc(slices.Clone(nodes), func(n *Node) bool { return n.State != NodeDraining })
	l := r.left(draining...)
	if l.String() == "" {
		return ""
	}
	return ", which has " + l.String()
}
