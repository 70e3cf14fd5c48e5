package orchestrator

import (
	"slices"
	"testing"
	"time"
)

// shrink makes a schedule that ends in a violation as short as it goes: it takes moves and mishaps away, and time, as long as
// the same invariant is violated. It plays at most so many times.
func (s schedule) shrink(t *testing.T, invariant string, plays int) schedule {
	t.Helper()
	still := func(shorter schedule) bool {
		if plays--; plays < 0 {
			return false
		}
		found, _ := shorter.play(t)
		return found != nil && found.invariant == invariant
	}
	for {
		before := len(s.moves) + len(s.mishaps)
		s.mishaps = leftOut(s.mishaps, func(rest []mishap) bool { s := s; s.mishaps = rest; return still(s) })
		s.moves = leftOut(s.moves, func(rest []move) bool { s := s; s.moves = rest; return still(s) })
		if len(s.moves)+len(s.mishaps) == before || plays < 0 {
			break
		}
	}
	for i := range s.moves {
		for _, change := range []func(*move){func(m *move) { m.then = 1 }, func(m *move) { m.span = time.Second }, func(m *move) { m.m = 0 }} {
			shorter := s
			shorter.moves = slices.Clone(s.moves)
			change(&shorter.moves[i])
			if shorter.moves[i] != s.moves[i] && still(shorter) {
				s = shorter
			}
		}
	}
	return s
}

// leftOut leaves out whatever can be left out: halves first, then quarters, single ones in the end.
func leftOut[T any](all []T, still func(rest []T) bool) []T {
	for size := (len(all) + 1) / 2; size > 0; size /= 2 {
		for at := 0; at < len(all); {
			rest := slices.Concat(all[:at], all[min(at+size, len(all)):])
			if still(rest) {
				all = rest
				continue
			}
			at += size
		}
	}
	return all
}
