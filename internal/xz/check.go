package xz

import (
	"crypto/sha256"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"slices"
)

// check sums up the plain data of a block.
type check struct {
	hash.Hash
	little bool // the file has it with the low byte first
}

// newCheck makes the check of a kind. The CRCs are little-endian in the file.
func newCheck(kind byte) (check, error) {
	switch kind {
	case 0:
		return check{}, nil
	case 1:
		return check{crc32.NewIEEE(), true}, nil
	case 4:
		return check{crc64.New(crc64.MakeTable(crc64.ECMA)), true}, nil
	case 10:
		return check{sha256.New(), false}, nil
	}
	return check{}, unsupported("check of kind %d", kind)
}

// bytes is how the sum stands in the file; none of no check.
func (c check) bytes() []byte {
	if c.Hash == nil {
		return nil
	}
	sum := c.Sum(nil)
	if c.little {
		slices.Reverse(sum)
	}
	return sum
}
