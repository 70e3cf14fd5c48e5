package xz

// The range coder: what LZMA's bits are kept in. Each bit has a probability of being 0 in units of 2^-11, which moves by a
// 32nd toward what came.
const (
	probBits = 11
	evenOdds = 1 << (probBits - 1)
	moveBits = 5
	topValue = 1 << 24
)

// input is the compressed part of a chunk. An index of 16 bits cannot leave it; what lies behind the chunk's own bytes is
// read only where the chunk is damaged, which shows at its end.
type input [1 << 16]byte

// coder reads bits. The functions that take many of them keep its parts in registers meanwhile.
type coder struct {
	at   int // bytes read
	rng  uint64
	code uint64
	in   input
}

// startBytes begin a chunk: a zero, and the first bytes of the code.
const startBytes = 5

// start begins a chunk.
func (c *coder) start() {
	c.rng, c.code, c.at = 0xffffffff, 0, startBytes
	for _, b := range c.in[1:startBytes] {
		c.code = c.code<<8 | uint64(b)
	}
}

// normal reads a byte when the range has become small.
func (c *coder) normal(rng, code uint64) (uint64, uint64) {
	if rng < topValue {
		at := c.at
		c.at = at + 1
		return rng << 8, code<<8 | uint64(c.in[uint16(at)])
	}
	return rng, code
}

// split decides a bit without a branch, since the processor could foretell it in two cases of three only. The last
// result is all ones for a 0, else 0.
func split(rng, code, p uint64) (uint64, uint64, uint64) {
	bound := rng >> probBits * p
	rest, left := rng-bound, code-bound
	zero := uint64(int64(left) >> 63)
	return rest + zero&(bound-rest), left + zero&bound, zero
}

// learn moves a probability toward the bit that came: by (2048-p)/32 up for a 0, by p/32 down for a 1, rounded to 0.
func learn(p, zero uint64) uint16 {
	const up = ^uint64(1<<probBits - 1<<moveBits) // 31-2048
	return uint16(p - uint64(int64(p+zero&up)>>moveBits))
}

// bit reads one bit that can mostly be foretold.
func (c *coder) bit(rng, code uint64, p *uint16) (uint64, uint64, bool) {
	rng, code = c.normal(rng, code)
	v := uint64(*p)
	bound := rng >> probBits * v
	if code < bound {
		*p = uint16(v + (1<<probBits-v)>>moveBits)
		return bound, code, false
	}
	*p = uint16(v - v>>moveBits)
	return rng - bound, code - bound, true
}

// tree reads a number below len(p), which is a power of two, from its highest bit down.
func tree[T [8]uint16 | [slots]uint16 | [256]uint16](c *coder, rng, code uint64, p *T) (uint64, uint64, uint32) {
	n, v, zero := uint64(1), uint64((*p)[1]), uint64(0)
	size := uint64(len(*p))
	mask := size/2 - 1
	for n < size {
		after0, after1 := uint64((*p)[(n&mask)*2]), uint64((*p)[(n&mask)*2+1])
		rng, code = c.normal(rng, code)
		rng, code, zero = split(rng, code, v)
		(*p)[n&(size-1)] = learn(v, zero)
		v = after1 + zero&(after0-after1)
		n = n + n + 1 + zero
	}
	return rng, code, uint32(n - size)
}

// reverse reads a number of some bits from its lowest bit up.
func (c *coder) reverse(rng, code uint64, p []uint16, bits uint32) (uint64, uint64, uint32) {
	n, sum, zero := uint64(1), uint32(0), uint64(0)
	for i := range bits {
		rng, code = c.normal(rng, code)
		v := uint64(p[n])
		rng, code, zero = split(rng, code, v)
		p[n] = learn(v, zero)
		n = n + n + 1 + zero
		sum += uint32(1+zero) << (i & 31)
	}
	return rng, code, sum
}

// direct reads bits that are as often 0 as 1.
func (c *coder) direct(rng, code uint64, bits uint32) (uint64, uint64, uint32) {
	var n uint64
	for range bits {
		rng, code = c.normal(rng, code)
		rng >>= 1
		code -= rng
		zero := uint64(int64(code) >> 63)
		code += rng & zero
		n = n + n + 1 + zero
	}
	return rng, code, uint32(n)
}

// plain reads a byte. The probabilities of the bit after the next are loaded before the next is known.
func (c *coder) plain(rng, code uint64, p *[0x300]uint16) (uint64, uint64, byte) {
	n, v, zero := uint64(1), uint64(p[1]), uint64(0)
	for n < 0x100 {
		m := n & 0xff
		after0, after1 := uint64(p[m+m]), uint64(p[m+m+1])
		rng, code = c.normal(rng, code)
		rng, code, zero = split(rng, code, v)
		p[m] = learn(v, zero)
		v = after1 + zero&(after0-after1)
		n = n + n + 1 + zero
	}
	return rng, code, byte(n)
}

// unlike reads a byte that follows a match, which is probably not the one that would have followed in the match.
func (c *coder) unlike(rng, code uint64, p *[0x300]uint16, other byte) (uint64, uint64, byte) {
	n, zero, half, but := uint64(1), uint64(0), uint64(0x100), uint64(other)<<1
	i := half + but&half + n
	v := uint64(p[i&0x3ff])
	for n < 0x100 {
		bit := but & half
		but += but
		half0, half1 := half^bit, bit
		n += n
		i0, i1 := half0+but&half0+n, half1+but&half1+n+1
		after0, after1 := uint64(p[i0&0x3ff]), uint64(p[i1&0x3ff])
		rng, code = c.normal(rng, code)
		rng, code, zero = split(rng, code, v)
		p[i&0x3ff] = learn(v, zero)
		v = after1 + zero&(after0-after1)
		i = i1 + zero&(i0-i1)
		half = half1 + zero&(half0-half1)
		n += 1 + zero
	}
	return rng, code, byte(n)
}
