package xz

import (
	"bufio"
	"hash/crc32"
	"io"
)

// source counts what is read of the packed file, and sums up parts of it.
type source struct {
	r   *bufio.Reader
	n   int64  // bytes read
	crc uint32 // CRC32 of what was read by ReadByte since it was set to 0
}

// ReadByte reads a byte. An end is one too early.
func (s *source) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err != nil {
		return 0, short(err)
	}
	s.n++
	s.crc = crc32.Update(s.crc, crc32.IEEETable, []byte{b})
	return b, nil
}

// fill reads as many bytes as p takes.
func (s *source) fill(p []byte) error {
	n, err := io.ReadFull(s.r, p)
	s.n += int64(n)
	return short(err)
}

// zeros reads what fills up to a multiple of 4 after n bytes.
func (s *source) zeros(n int64) error {
	for ; n%4 != 0; n++ {
		b, err := s.ReadByte()
		if err != nil {
			return err
		}
		if b != 0 {
			return damaged("bytes that fill up are not zero")
		}
	}
	return nil
}

// maxVarint is how many bytes a number may have.
const maxVarint = 9

func varint(r io.ByteReader) (int64, error) {
	var n int64
	for i := range maxVarint {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		n |= int64(b&0x7f) << (7 * i)
		if b < 0x80 {
			if b == 0 && i > 0 {
				break
			}
			return n, nil
		}
	}
	return 0, damaged("a number is longer than it needs to be")
}
