package machine

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// lz4Magic begins LZ4's legacy frame, in which kernels are packed: blocks of at most 8 MiB when unpacked, each after its length, four
// bytes (LZ4's doc/lz4_Frame_format.md and lz4_Block_format.md).
var lz4Magic = []byte{0x02, 0x21, 0x4c, 0x18}

const (
	lz4Block  = 8 << 20
	mostOfLZ4 = 255 // bytes that one can become
)

var errLZ4 = errors.New("it is no LZ4")

// unpackLZ4 unpacks a legacy frame that becomes size bytes.
func unpackLZ4(packed []byte, size int) ([]byte, error) {
	if size > mostOfLZ4*len(packed) {
		return nil, errLZ4
	}
	packed = bytes.TrimPrefix(packed, lz4Magic)
	out := make([]byte, 0, size)
	for len(packed) > 0 {
		if len(packed) < 4 {
			return nil, errLZ4
		}
		n := int64(binary.LittleEndian.Uint32(packed))
		if n > int64(len(packed)-4) {
			return nil, errLZ4
		}
		var err error
		if out, err = unpackBlock(out, packed[4:4+n], min(size-len(out), lz4Block)); err != nil {
			return nil, err
		}
		packed = packed[4+n:]
	}
	return out, nil
}

// unpackBlock appends what a block holds, at most limit bytes. A block is a row of sequences: a token, literals, and a match with
// what was unpacked before, which the last one does not have.
func unpackBlock(out, in []byte, limit int) ([]byte, error) {
	const shortest = 4 // match
	start := len(out)
	for len(in) > 0 {
		token := int(in[0])
		literals, rest, ok := lz4Length(token>>4, in[1:])
		if !ok || literals > len(rest) || len(out)-start+literals > limit {
			return nil, errLZ4
		}
		out, in = append(out, rest[:literals]...), rest[literals:]
		if len(in) == 0 {
			return out, nil
		}
		if len(in) < 2 {
			return nil, errLZ4
		}
		offset := int(binary.LittleEndian.Uint16(in))
		match, rest, ok := lz4Length(token&15, in[2:])
		match += shortest
		if !ok || offset == 0 || offset > len(out)-start || len(out)-start+match > limit {
			return nil, errLZ4
		}
		in = rest
		for match > 0 { // a match may reach into what it makes
			n := min(match, offset)
			out = append(out, out[len(out)-offset:len(out)-offset+n]...)
			match -= n
		}
	}
	return out, nil
}

// lz4Length reads a length that begins in a token.
func lz4Length(n int, in []byte) (length int, rest []byte, ok bool) {
	if n < 15 {
		return n, in, true
	}
	for len(in) > 0 && n < lz4Block {
		more := int(in[0])
		n, in = n+more, in[1:]
		if more < 255 {
			return n, in, true
		}
	}
	return 0, nil, false
}
