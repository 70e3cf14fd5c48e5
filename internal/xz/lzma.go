package xz

// The numbers of LZMA.
const (
	states    = 12
	posStates = 1 << 4
	minMatch  = 2
	lenStates = 4 // lengths from 5 on share a model of distances
	slots     = 64
	endSlots  = 14 // from this slot of distances on, the bits in the middle have no model
	alignBits = 4
)

// lengths is the model of how long matches are.
type lengths struct {
	choice, choice2 uint16
	low, mid        [posStates][8]uint16
	high            [256]uint16
}

// models are the probabilities of all bits. What a state is, see lzma.
type models struct {
	match     [states][posStates]uint16
	repeated  [states]uint16
	rep0      [states]uint16
	rep1      [states]uint16
	rep2      [states]uint16
	rep0Long  [states][posStates]uint16
	slot      [lenStates][slots]uint16
	special   [128]uint16
	align     [1 << alignBits]uint16
	length    lengths
	repLength lengths
	literal   [1 << 4][0x300]uint16 // lc + lp is at most 4 in LZMA2
}

func even(list ...[]uint16) {
	for _, p := range list {
		for i := range p {
			p[i] = evenOdds
		}
	}
}

func (l *lengths) reset() {
	l.choice, l.choice2 = evenOdds, evenOdds
	for i := range l.low {
		even(l.low[i][:], l.mid[i][:])
	}
	even(l.high[:])
}

func (m *models) reset() {
	for i := range m.match {
		even(m.match[i][:], m.rep0Long[i][:])
	}
	even(m.repeated[:], m.rep0[:], m.rep1[:], m.rep2[:], m.special[:], m.align[:])
	for i := range m.slot {
		even(m.slot[i][:])
	}
	for i := range m.literal {
		even(m.literal[i][:])
	}
	m.length.reset()
	m.repLength.reset()
}

// lzma is a decoder between two chunks.
type lzma struct {
	coder
	models
	state      uint32    // what the last symbols were: below 7 when the last was a literal
	rep        [4]uint32 // distances of the last matches less 1, latest first
	lc         uint32    // how many bits of the last byte choose the model of a literal
	lpMask     uint32    // which bits of the position do
	posMask    uint32    // which bits of the position choose other models
	window     []byte    // what is decoded and may be repeated, with room for overrun bytes behind it
	first, pos int       // the dictionary is window[first:pos]
}

// overrun is how far behind its end a match may be written.
const overrun = 15

func (d *lzma) resetState() {
	d.state, d.rep = 0, [4]uint32{}
	d.models.reset()
}

// chunk decodes until the window is filled to end. Matches lead back dict bytes at most. It reports whether the data is sound.
func (d *lzma) chunk(end, dict int) bool {
	w, pos, state, rng, code := d.window, d.pos, d.state, d.rng, d.code
	for pos < end {
		var match, again bool
		ps := uint32(pos) & d.posMask & (posStates - 1)
		if rng, code, match = d.bit(rng, code, &d.match[state][ps]); !match {
			var last byte
			if pos > d.first {
				last = w[pos-1]
			}
			p := &d.literal[(uint32(pos)&d.lpMask<<(d.lc&31)+uint32(last)>>((8-d.lc)&31))&15]
			if state < 7 {
				rng, code, w[pos] = d.plain(rng, code, p)
			} else {
				back := int(d.rep[0])
				if back >= pos-d.first {
					return false
				}
				rng, code, w[pos] = d.unlike(rng, code, p, w[pos-back-1])
			}
			state = afterLiteral(state)
			pos++
			continue
		}
		var n int
		rng, code, again = d.bit(rng, code, &d.repeated[state])
		if again {
			rng, code, n = d.again(rng, code, state, ps)
		} else {
			rng, code, n = d.matchLength(rng, code, &d.length, ps)
			d.rep[3], d.rep[2], d.rep[1] = d.rep[2], d.rep[1], d.rep[0]
			rng, code, d.rep[0] = d.distance(rng, code, n)
		}
		state = afterMatch(state, again, n)
		back := int(d.rep[0])
		if back >= pos-d.first || back >= dict || n > end-pos {
			return false
		}
		repeat(w, pos, back+1, n)
		pos += n
	}
	d.rng, d.code = d.normal(rng, code)
	d.state, d.pos = state, pos
	return d.code == 0
}

func afterLiteral(state uint32) uint32 {
	switch {
	case state < 4:
		return 0
	case state < 10:
		return state - 3
	}
	return state - 6
}

func afterMatch(state uint32, again bool, n int) uint32 {
	switch {
	case !again && state < 7:
		return 7
	case !again:
		return 10
	case state >= 7:
		return 11
	case n == 1:
		return 9
	}
	return 8
}

// again reads which of the last distances a match has, and its length; 1 only for the last distance.
func (d *lzma) again(rng, code uint64, state, ps uint32) (uint64, uint64, int) {
	var one bool
	if rng, code, one = d.bit(rng, code, &d.rep0[state]); !one {
		if rng, code, one = d.bit(rng, code, &d.rep0Long[state][ps]); !one {
			return rng, code, 1
		}
	} else if rng, code, one = d.bit(rng, code, &d.rep1[state]); !one {
		d.rep[1], d.rep[0] = d.rep[0], d.rep[1]
	} else if rng, code, one = d.bit(rng, code, &d.rep2[state]); !one {
		d.rep[2], d.rep[1], d.rep[0] = d.rep[1], d.rep[0], d.rep[2]
	} else {
		d.rep[3], d.rep[2], d.rep[1], d.rep[0] = d.rep[2], d.rep[1], d.rep[0], d.rep[3]
	}
	return d.matchLength(rng, code, &d.repLength, ps)
}

func (d *lzma) matchLength(rng, code uint64, l *lengths, ps uint32) (uint64, uint64, int) {
	var one bool
	var n uint32
	if rng, code, one = d.bit(rng, code, &l.choice); !one {
		rng, code, n = tree(&d.coder, rng, code, &l.low[ps])
		return rng, code, minMatch + int(n)
	}
	if rng, code, one = d.bit(rng, code, &l.choice2); !one {
		rng, code, n = tree(&d.coder, rng, code, &l.mid[ps])
		return rng, code, minMatch + 8 + int(n)
	}
	rng, code, n = tree(&d.coder, rng, code, &l.high)
	return rng, code, minMatch + 16 + int(n)
}

// distance reads how far back a match of n bytes leads, less 1: a slot says the highest two bits and their place.
func (d *lzma) distance(rng, code uint64, n int) (uint64, uint64, uint32) {
	rng, code, slot := tree(&d.coder, rng, code, &d.slot[min(n-minMatch, lenStates-1)])
	if slot < 4 {
		return rng, code, slot
	}
	bits := slot>>1 - 1
	high := (2 + slot&1) << bits
	var middle, low uint32
	if slot < endSlots {
		rng, code, low = d.reverse(rng, code, d.special[high-slot:], bits)
		return rng, code, high + low
	}
	rng, code, middle = d.direct(rng, code, bits-alignBits)
	rng, code, low = d.reverse(rng, code, d.align[:], alignBits)
	return rng, code, high + middle<<alignBits + low
}

// repeat writes n bytes at pos that are those of distance bytes before; up to overrun more are spoiled.
func repeat(w []byte, pos, distance, n int) {
	from, end := pos-distance, pos+n
	if distance <= overrun {
		for ; pos < end; pos, from = pos+1, from+1 {
			w[pos] = w[from]
		}
		return
	}
	for ; pos < end; pos, from = pos+overrun+1, from+overrun+1 {
		*(*[overrun + 1]byte)(w[pos:]) = *(*[overrun + 1]byte)(w[from:])
	}
}
