package orchestrator

import (
	"fmt"
	"time"

	"github.com/bootandshoot/release/internal/human"
)

// Replacing a node helps when it is the node that is bad. When it is not, replacing for ever takes down what is left and
// burns the machine. So it is looked at what replacing brings, and where it brings nothing it is held: nodes that run are
// left as they are, one new node at a time is tried, ever more seldom, and people are told. What ends it is that things get
// better, or a person's word.

// StormKind is what speaks against replacing.
type StormKind string

const (
	StormAll   StormKind = "all_unhealthy" // all running nodes at once: what they depend on is bad
	StormVain  StormKind = "as_bad"        // new nodes do no better than those that they replace
	StormMany  StormKind = "too_many"      // as many as may be were replaced within an hour
	StormCrash StormKind = "crash_loop"    // nodes end one after the other soon after their boot
)

// Storm is why nodes of a fleet are not replaced now, and what was tried. The zero value is fair weather.
type Storm struct {
	Kind   StormKind `json:"kind,omitempty"` // "": nothing is held, though something may have been tried in vain
	Since  time.Time `json:"since,omitzero"`
	Why    string    `json:"why,omitempty"`    // for people
	Vain   int       `json:"vain,omitempty"`   // tries in a row whose new nodes were no better
	VainAt time.Time `json:"vain_at,omitzero"` // when the last of them had failed
	Last   string    `json:"last,omitempty"`   // what was wrong with it
	NextAt time.Time `json:"next_at,omitzero"` // no node that runs is replaced before
}

const (
	// vainBoots is after how many tries in a row also nodes that are gone are booted again one at a time only.
	vainBoots = 2
	// vainFirst is the wait after the first try in vain; it is doubled from try to try.
	vainFirst = 30 * time.Second
	// vainMost bounds the wait while other nodes of the fleet are healthy, vainNone when none is: nobody is served then.
	vainMost, vainNone = 5 * time.Minute, time.Minute
	// proof is how long a new node must be healthy to be better than the one that it replaces.
	proof = time.Minute
	// leastHour is how many unhealthy nodes may be replaced within an hour even of the smallest fleet, when nothing is configured.
	leastHour = 10
	// mintStep is how many nodes of a fleet are on their way to their boot at a time: what is lost at once, however much,
	// comes back in steps.
	mintStep = 64
)

// weather is what is seen of a fleet when it is decided whether replacing its nodes helps.
type weather struct {
	now           time.Time
	whole         bool // as many healthy nodes as asked for, and none to be replaced
	served, sick  int  // running nodes that were healthy once; of those: unhealthy now
	due           int  // running nodes that are to be replaced
	unasked       int  // of those: nobody asked for
	hour, perHour int  // replaced within the last hour, and how many may be
	failed, free  int  // nodes that ended soon after their boot, one after the other, and how many may
	reason        string
}

// storm is what holds replacing now, given what did before.
func (w weather) storm(before Storm) Storm {
	if w.whole {
		return Storm{}
	}
	s := before
	s.Kind, s.Why = w.judge(before)
	switch {
	case s.Kind == "":
		s.Since = time.Time{}
	case s.Kind != before.Kind:
		s.Since = w.now
	}
	return s
}

func (w weather) judge(before Storm) (StormKind, string) {
	switch {
	case w.served > 1 && w.sick == w.served:
		return StormAll, fmt.Sprintf("all %s unhealthy at once: that is rarely the nodes but what they depend on, so none is shot while no new one does better",
			human.Are(w.sick, "node"))
	case before.Vain >= vainBoots || before.Vain > 0 && w.due > 0:
		return StormVain, fmt.Sprintf("new nodes are as bad, %d in a row; the last: %s", before.Vain, before.Last)
	case w.unasked > 0 && w.hour >= w.perHour:
		return StormMany, fmt.Sprintf("%s replaced within an hour, which is all that may be (fleet.replace.max_per_hour)", human.Were(w.hour, "node"))
	case w.failed > w.free:
		return StormCrash, fmt.Sprintf("%d nodes in a row ended soon after their boot; the last: %s", w.failed, w.reason)
	}
	return "", ""
}

func (r *round) weather(fl *Fleet) weather {
	c, size := r.count(fl), r.s.size(fl)
	w := weather{now: r.f.Now, whole: c.healthy >= size && len(c.doomed) == 0 && fl.Failures == 0, due: len(c.doomed),
		hour: fl.Replaced.at(r.f.Now).sum(), perHour: r.perHour(fl), failed: fl.Failures, free: r.freeFailures(fl), reason: fl.Reason}
	for _, n := range c.doomed {
		if !n.wanted() {
			w.unasked++
		}
	}
	for _, n := range fl.Nodes {
		if n.live() && n.WasServed {
			w.served++
			if n.State == NodeUnhealthy {
				w.sick++
			}
		}
	}
	return w
}

// sense notes what holds replacing in a fleet, and tells when that changes.
func (r *round) sense(fl *Fleet) {
	if fl.State == FleetLaunching || fl.Storm == (Storm{}) && fl.healthy() == len(fl.Nodes) {
		return // its gate decides; nothing to decide
	}
	before := fl.Storm
	fl.Storm = r.weather(fl).storm(before)
	switch s := fl.Storm; {
	case s.Kind == before.Kind:
	case s.Kind == "":
		r.sayFleet("calm", fl, "nodes of %s are replaced again as they fail", fl.ID.Release)
	default:
		r.sayFleet("storm", fl, "replacing nodes of %s is held: %s", fl.ID.Release, s.Why)
	}
}

// vain notes that a new node is no better than what it was booted for. Nodes that were on their way already when that was
// seen last are the same try.
func (r *round) vain(fl *Fleet, n *Node, why string) {
	if fl.State == FleetLaunching || !n.MintedAt.After(fl.Storm.VainAt) {
		return
	}
	s := &fl.Storm
	s.Vain, s.VainAt, s.Last = s.Vain+1, r.f.Now, n.Name+": "+why
	s.NextAt = r.f.Now.Add(vainWait(s.Vain, fl.healthy() > 0))
	if s.Vain >= vainBoots && fl.NotBefore.Before(s.NextAt) {
		fl.NotBefore = s.NextAt
	}
}

// vainWait is how long to wait after so many tries in vain.
func vainWait(tries int, served bool) time.Duration {
	most := vainNone
	if served {
		most = vainMost
	}
	return min(vainFirst<<min(tries-1, 10), most)
}

// better forgets what was tried in vain: something does well again.
func (fl *Fleet) better() {
	fl.Storm.Vain, fl.Storm.VainAt, fl.Storm.Last, fl.Storm.NextAt = 0, time.Time{}, "", time.Time{}
	fl.Failures, fl.NotBefore, fl.Reason = 0, time.Time{}, ""
}

// mayReplace is how many more running nodes may be replaced now.
func (r *round) mayReplace(fl *Fleet, c census) int {
	switch fl.Storm.Kind {
	case StormAll, StormVain, StormCrash:
		if r.f.Now.Before(fl.Storm.NextAt) || c.coming > 0 {
			return 0
		}
		return 1
	}
	atOnce := r.s.configOf(fl).Fleet.Replace.MaxInFlight
	if atOnce == 0 {
		atOnce = max(1, r.s.size(fl)/4)
	}
	return max(0, atOnce-c.coming)
}

// mayBoot is how many more nodes may be on their way to their boot.
func (r *round) mayBoot(fl *Fleet) int {
	starting, unbooted := 0, 0
	for _, n := range fl.Nodes {
		if n.State == NodeStarting {
			starting++
			if !n.Booted {
				unbooted++
			}
		}
	}
	if fl.Storm.Vain >= vainBoots {
		return max(0, 1-starting)
	}
	return max(0, mintStep-unbooted)
}

// perHour is how many unhealthy nodes of a fleet are replaced within an hour at most.
func (r *round) perHour(fl *Fleet) int {
	if most := r.s.configOf(fl).Fleet.Replace.MaxPerHour; most > 0 {
		return most
	}
	return max(r.s.size(fl), leastHour)
}

// spend takes one of the replacements that may be within an hour, if there is one left.
func (r *round) spend(fl *Fleet) bool {
	h := fl.Replaced.at(r.f.Now)
	if h.sum() >= r.perHour(fl) {
		return false
	}
	h.Parts[0]++
	fl.Replaced = h
	return true
}

// resumeFleets lets replacing go on at once wherever it is held, because a person said so.
func (r *round) resumeFleets(by string) bool {
	any := false
	for _, fl := range r.s.Fleets {
		if fl.Storm.Kind == "" {
			continue
		}
		any = true
		fl.better()
		fl.Storm, fl.Replaced = Storm{}, Hourly{}
		r.sayFleet("resumed", fl, "nodes of %s are replaced again, says %s", fl.ID.Release, by)
	}
	return any
}

// waits is the storm as a reason to wait, as the end of a sentence.
func (s Storm) waits() string {
	if s.Kind == "" {
		return ""
	}
	return "; replacing is held: " + s.Why
}

// Hourly counts what was done within the last hour.
type Hourly struct {
	From  time.Time `json:"from,omitzero"` // when the newest part began
	Parts [13]int   `json:"parts"`         // of five minutes each, the newest first: an hour, and the part that is not over
}

const hourPart = 5 * time.Minute

// at is the count as it stands at a time.
func (h Hourly) at(now time.Time) Hourly {
	passed := int(now.Sub(h.From) / hourPart)
	if h.From.IsZero() || passed >= len(h.Parts) {
		return Hourly{From: now}
	}
	if passed <= 0 {
		return h
	}
	moved := Hourly{From: h.From.Add(time.Duration(passed) * hourPart)}
	copy(moved.Parts[passed:], h.Parts[:])
	return moved
}

func (h Hourly) sum() int {
	n := 0
	for _, part := range h.Parts {
		n += part
	}
	return n
}
