package xz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
)

// lzma2 is the number of the only filter that is read here.
const lzma2 = 0x21

// Flags of a block's header: the lowest two bits are the number of filters less 1.
const (
	filtersFlag = 0x03
	packedFlag  = 0x40 // the size of the packed data is said
	plainFlag   = 0x80 // the size of the plain data is
)

// errFilter says that a block has other filters than LZMA2.
var errFilter = unsupported("a block has another filter than LZMA2")

// blockHead is what the header of a block says.
type blockHead struct {
	size          int64 // of the header itself
	packed, plain int64 // of the data; -1: not said
	dict          int64
}

// parseHead reads the whole header of a block.
func parseHead(raw []byte) (blockHead, error) {
	h := blockHead{size: int64(len(raw)), packed: -1, plain: -1}
	body, sum := raw[:len(raw)-4], raw[len(raw)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return h, damaged("the header of a block has another checksum")
	}
	flags := body[1]
	if flags&^(filtersFlag|packedFlag|plainFlag) != 0 {
		return h, unsupported("flags %#x of a block", flags)
	}
	in := bytes.NewReader(body[2:])
	var err, perr error
	if flags&packedFlag != 0 {
		h.packed, err = varint(in)
	}
	if flags&plainFlag != 0 {
		h.plain, perr = varint(in)
	}
	if errors.Join(err, perr) != nil || h.packed == 0 {
		return h, damaged("the header of a block has no whole sizes")
	}
	if flags&filtersFlag != 0 {
		return h, errFilter
	}
	return h, h.filter(in)
}

// filter reads the only filter, and the zeros behind it.
func (h *blockHead) filter(in *bytes.Reader) error {
	id, err := varint(in)
	if err == nil && id != lzma2 {
		return errFilter
	}
	size, serr := varint(in)
	bits, berr := in.ReadByte()
	if errors.Join(err, serr, berr) != nil || size != 1 {
		return damaged("the header of a block has no whole filter")
	}
	if bits > 40 {
		return unsupported("a dictionary of the size %#x", bits)
	}
	h.dict = math.MaxUint32
	if bits < 40 {
		h.dict = (2 | int64(bits&1)) << (bits/2 + 11)
	}
	for in.Len() > 0 {
		if b, _ := in.ReadByte(); b != 0 {
			return unsupported("a longer header of a block")
		}
	}
	return nil
}
