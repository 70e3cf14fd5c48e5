package embedded

import "math/bits"

// split maps a position in the request sequence to one of several weights. Positions are multiples of the golden
// ratio modulo 1 (a Weyl sequence): of any N consecutive requests each weight gets its share within O(log N), and
// so do every second or third of them, which plain turns would not give. [Knuth, TAOCP 3, 6.4: Fibonacci hashing]
type split struct {
	bounds []uint64 // upper bounds of each weight's range in units of 2^-64; the last one's is the whole
}

const golden = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio, odd

// newSplit takes weights of at least 1 each.
func newSplit(weights []int) split {
	var total, sum uint64
	for _, w := range weights {
		total += uint64(w)
	}
	s := split{bounds: make([]uint64, len(weights))}
	for i, w := range weights {
		sum += uint64(w)
		if sum == total {
			s.bounds[i] = ^uint64(0)
			continue
		}
		s.bounds[i], _ = bits.Div64(sum, 0, total) // sum * 2^64 / total
	}
	return s
}

// position is the n-th of the sequence.
func position(n uint64) uint64 { return n * golden }

// index is the weight at a position.
func (s split) index(position uint64) int {
	for i, b := range s.bounds {
		if position < b {
			return i
		}
	}
	return len(s.bounds) - 1
}
