package xz

import "errors"

const (
	// maxPlain is what a chunk may become.
	maxPlain = 2 << 20
	// firstWindow is the window of a small file.
	firstWindow = 64 << 10
	// spare bounds what a window holds beside the dictionary. The dictionary is moved to its beginning when it is full,
	// so with as much again a byte is moved once.
	spare = 8 << 20
)

// errFirst is of a chunk that the library reads nevertheless: the byte means nothing.
var errFirst = damaged("a chunk does not begin with a zero")

// errEnd says that the last chunk was read.
var errEnd = errors.New("no more chunks")

// chunks reads LZMA2.
type chunks struct {
	lzma
	src   *source
	dict  int   // most bytes that a match may lead back
	ready int   // window[ready:pos] is the last chunk
	given int   // window[ready:given] is handed out
	total int64 // bytes decoded
	reset bool  // the first chunk must forget what was before
	props bool  // the next chunk of LZMA must say how it is made
}

// begin begins a block.
func (c *chunks) begin(src *source, dict int) {
	c.src, c.dict, c.reset, c.props, c.total = src, dict, true, true, 0
	c.first, c.pos, c.ready, c.given = 0, 0, 0, 0
}

// plain is the last chunk.
func (c *chunks) plain() []byte { return c.window[c.ready:c.pos] }

// unread is how much of it is not handed out.
func (c *chunks) unread() int { return c.pos - c.given }

func (c *chunks) give(p []byte) int {
	n := copy(p, c.window[c.given:c.pos])
	c.given += n
	return n
}

// next decodes a chunk; errEnd after the last. All before it must be handed out.
func (c *chunks) next() error {
	kind, err := c.src.ReadByte()
	if err != nil {
		return err
	}
	if kind == 0 {
		return errEnd
	}
	if kind == 1 || kind >= 0xe0 {
		c.first, c.pos, c.reset, c.props = 0, 0, false, true
	}
	c.ready, c.given = c.pos, c.pos
	switch {
	case c.reset:
		return damaged("its first chunk needs one before it")
	case kind >= 0x80:
		err = c.compressed(kind)
	case kind <= 2:
		err = c.stored()
	default:
		return damaged("a chunk is of no known kind")
	}
	c.total += int64(c.pos - c.ready)
	return err
}

// stored reads a chunk of plain bytes.
func (c *chunks) stored() error {
	var head [2]byte
	if err := c.src.fill(head[:]); err != nil {
		return err
	}
	n := int(head[0])<<8 + int(head[1]) + 1
	c.room(n)
	if err := c.src.fill(c.window[c.pos : c.pos+n]); err != nil {
		return err
	}
	c.pos += n
	return nil
}

// compressed reads a chunk of LZMA.
func (c *chunks) compressed(kind byte) error {
	var head [4]byte
	if err := c.src.fill(head[:]); err != nil {
		return err
	}
	plain := int(kind&0x1f)<<16 + int(head[0])<<8 + int(head[1]) + 1
	packed := int(head[2])<<8 + int(head[3]) + 1
	if err := c.prepare(kind); err != nil {
		return err
	}
	if packed < startBytes {
		return damaged("a chunk is too short")
	}
	if err := c.src.fill(c.in[:packed]); err != nil {
		return err
	}
	if c.in[0] != 0 {
		return errFirst
	}
	c.room(plain)
	c.start()
	if !c.chunk(c.pos+plain, c.dict) || c.at != packed {
		return damaged("a chunk holds something else than it says")
	}
	return nil
}

// prepare does what a kind of LZMA says is to be done before: from a0 on the models are new, from c0 on how it is made is said.
func (c *chunks) prepare(kind byte) error {
	if kind >= 0xc0 {
		b, err := c.src.ReadByte()
		if err != nil {
			return err
		}
		lc, lp, pb := uint32(b%9), uint32(b/9%5), uint32(b/45)
		if pb > 4 || lc+lp > 4 {
			return damaged("a chunk is made in a way that there is not")
		}
		c.lc, c.lpMask, c.posMask, c.props = lc, 1<<lp-1, 1<<pb-1, false
	}
	if c.props {
		return damaged("a chunk does not say how it is made")
	}
	if kind >= 0xa0 {
		c.resetState()
	}
	return nil
}

// room makes room for a chunk of n bytes. Positions keep their remainder of posStates, on which models depend.
func (c *chunks) room(n int) {
	need := c.pos + n + overrun
	full := c.dict + posStates + max(maxPlain, min(c.dict, spare)) + overrun
	if need > len(c.window) && len(c.window) < full {
		grown := make([]byte, min(full, max(2*len(c.window), need, firstWindow)))
		copy(grown, c.window[:c.pos])
		c.window = grown
	}
	if c.pos+n+overrun > len(c.window) {
		from := (c.pos - min(c.pos-c.first, c.dict)) &^ (posStates - 1)
		copy(c.window, c.window[from:c.pos])
		c.pos -= from
		c.first = max(0, c.first-from)
	}
	c.ready, c.given = c.pos, c.pos
}
