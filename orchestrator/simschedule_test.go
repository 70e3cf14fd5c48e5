package orchestrator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A schedule is all that a simulated time depends on: the same one is played the same way again. A seed stands for one; what is
// left of it when it was made as short as it goes has no seed, and is printed as it is.
type schedule struct {
	seed   uint64 // of names and of how long things take
	shared bool   // two agents on one store, each a machine of its own; else one that is started again when it ends
	roles  bool   // an app of two routed roles, a worker and a database
	deaf   bool   // the edge does not end long connections when it is asked to
	moves  []move

	database bool // releases bring migrations
	drifts   bool // nodes are held to their image
	asks     bool // cutovers are held and asked about
	mishaps  []mishap
}

// move is something that happens around the agents, and how long it is quiet then.
type move struct {
	do   string
	n, m int           // which one, how many
	span time.Duration // how long it lasts
	then time.Duration
}

func (m move) String() string {
	return fmt.Sprintf("%-14s n=%d m=%d for %s, then %s", m.do, m.n, m.m, m.span, m.then)
}

// mishap meets the nth call of a kind, counted from 0 over all agents.
type mishap struct {
	call string
	nth  int
	kind mishapKind
}

func (f mishap) String() string { return fmt.Sprintf("%s %d %s", f.call, f.nth, f.kind) }

type mishapKind string

const (
	fails      mishapKind = "fails"       // nothing is done
	hangs      mishapKind = "hangs"       // nothing is done, and the caller has to give up
	unanswered mishapKind = "unanswered"  // it is done, and the answer is lost
	comesLate  mishapKind = "comes late"  // it is done when the caller has given up
	diesBefore mishapKind = "dies before" // the caller's process, and nothing is done
	diesAfter  mishapKind = "dies after"  // it is done, and the caller's process dies
)

var allMishaps = []mishapKind{fails, hangs, unanswered, comesLate, diesBefore, diesAfter}

// The calls that mishaps meet, and about how many there are in a schedule. What changes the world comes first.
const (
	callCommit  = "commit"
	callEnsure  = "Ensure"
	callRun     = "run" // the Ensure of a task's node
	callRemove  = "Remove"
	callDestroy = "Destroy"
	callApply   = "Apply"
	callHook    = "hook"
	callPrepare = "Prepare"
	callNodes   = "Nodes"
	callFleets  = "Fleets"
	callObserve = "Observe"
	callApplied = "Applied"
	callRead    = "read"
	callAcquire = "acquire"
	callLogs    = "Logs"
	callDrift   = "Drift"
	callAsk     = "ask" // a question of abort_on
)

var callCounts = []struct {
	call         string
	weight, most int
}{
	{callCommit, 5, 90}, {callEnsure, 4, 16}, {callRemove, 4, 12}, {callApply, 4, 16}, {callDestroy, 2, 4}, {callHook, 2, 10}, {callRun, 1, 3},
	{callPrepare, 1, 4}, {callNodes, 2, 60}, {callFleets, 1, 8}, {callObserve, 2, 200}, {callApplied, 1, 3}, {callRead, 1, 12}, {callAcquire, 1, 3},
}

// what may happen, and how often.
var happenings = []struct {
	do     string
	weight int
}{
	{"up", 10}, {"launch", 2}, {"cutover", 3}, {"rollback", 4}, {"scale", 4}, {"replace", 3}, {"quarantine", 2}, {"destroy", 1},
	{"abort", 2}, {"pause", 1}, {"resume", 1}, {"task", 2}, {"long task", 1},
	{"kill", 4}, {"vanish", 1}, {"sick", 3}, {"well", 1}, {"unknown", 2}, {"crashes", 2}, {"reboot", 1},
	{"agent dies", 3}, {"cut off", 3}, {"agent ends", 1}, {"driver down", 2}, {"router down", 2}, {"router dies", 1},
	{"connections", 3}, {"requests", 2}, {"edge silent", 2}, {"edge behind", 1},
}

// what may happen to releases with more than nodes and traffic, and which calls of theirs mishaps meet.
var laterHappenings = []struct {
	do     string
	weight func(s *schedule) int
}{
	{"up", func(*schedule) int { return 3 }},
	{"contract", func(s *schedule) int { return 4 * number(s.database) }},
	{"drift", func(s *schedule) int { return 5 * number(s.drifts) }},
	{"all drift", func(s *schedule) int { return number(s.drifts) }},
	{"restored", func(s *schedule) int { return number(s.drifts) }},
	{"bad metric", func(s *schedule) int { return 2 * number(s.asks) }},
	{"no metric", func(s *schedule) int { return 2 * number(s.asks) }},
	{"bad command", func(s *schedule) int { return 2 * number(s.asks) }},
	{"no command", func(s *schedule) int { return 2 * number(s.asks) }},
	{"approve", func(s *schedule) int { return 2 * number(s.asks) }},
	{"abort force", func(s *schedule) int { return number(s.asks) }},
}

var laterCounts = []struct {
	call         string
	weight, most int
}{{callRun, 3, 6}, {callDrift, 2, 30}, {callAsk, 2, 12}, {callCommit, 2, 120}}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// newSchedule draws one. Short ones find as much as long ones in the same time, and are read sooner.
func newSchedule(seed uint64) schedule {
	r := rand.New(rand.NewPCG(seed, 7))
	s := schedule{seed: seed, shared: r.IntN(3) == 0, roles: r.IntN(8) == 0, deaf: r.IntN(2) == 0}
	s.moves = append(s.moves, move{do: "up", then: odd(r, 12*time.Second)})
	for range 4 + r.IntN(8) {
		m := move{do: drawn(r, happenings, func(i int) int { return happenings[i].weight }).do, n: r.IntN(1000), m: r.IntN(100), span: odd(r, 20*time.Second)}
		m.then = odd(r, 3*time.Second)
		if r.IntN(4) == 0 {
			m.then = odd(r, 20*time.Second)
		}
		s.moves = append(s.moves, m)
	}
	for range r.IntN(5) {
		c := drawn(r, callCounts, func(i int) int { return callCounts[i].weight })
		s.mishaps = append(s.mishaps, mishap{call: c.call, nth: r.IntN(c.most), kind: allMishaps[r.IntN(len(allMishaps))]})
	}
	s.more(rand.New(rand.NewPCG(seed, 11)))
	return s
}

// more adds migrations, drift and questions to every third schedule. They are drawn from a stream of their own: what the
// others found before there were any, they find again.
func (s *schedule) more(r *rand.Rand) {
	has := r.IntN(21) // of 1 to 7 each bit is one of them
	if has == 0 || has > 7 {
		return
	}
	s.database, s.drifts, s.asks = has&1 > 0, has&2 > 0, has&4 > 0
	for range 2 + r.IntN(4) {
		m := move{do: drawn(r, laterHappenings, func(i int) int { return laterHappenings[i].weight(s) }).do, n: r.IntN(1000), m: r.IntN(100), span: odd(r, 20*time.Second)}
		m.then = odd(r, 8*time.Second)
		s.moves = slices.Insert(s.moves, 1+r.IntN(len(s.moves)), m)
	}
	for range r.IntN(3) {
		c := drawn(r, laterCounts, func(i int) int { return laterCounts[i].weight })
		s.mishaps = append(s.mishaps, mishap{call: c.call, nth: r.IntN(c.most), kind: allMishaps[r.IntN(len(allMishaps))]})
	}
}

// odd is a time that nothing else falls on.
func odd(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(most))) + 1
}

func drawn[T any](r *rand.Rand, from []T, weight func(i int) int) T {
	sum := 0
	for i := range from {
		sum += weight(i)
	}
	at := r.IntN(sum)
	for i := range from {
		if at -= weight(i); at < 0 {
			return from[i]
		}
	}
	panic("unreachable")
}

func (s schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, shared %v, roles %v, deaf %v, database %v, drifts %v, asks %v\n", s.seed, s.shared, s.roles, s.deaf, s.database, s.drifts, s.asks)
	for _, m := range s.moves {
		fmt.Fprintf(&b, "  move  %s\n", m)
	}
	for _, f := range s.mishaps {
		fmt.Fprintf(&b, "  mishap %s\n", f)
	}
	return b.String()
}
