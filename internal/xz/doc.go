// Package xz reads .xz files: those with LZMA2 alone, which is nearly all of them, by a decoder of its own that needs two
// thirds of the time of github.com/mikelolasagasti/xz, and those that begin with another filter before it by that package.
//
// The form (xz-file-format.txt 1.2.1 of the XZ Utils; numbers are little-endian, a varint has 7 bits a byte, low ones first):
//
//	file    streams, each followed by zeros to a multiple of 4 bytes
//	stream  header, blocks, index, footer
//	header  FD "7zXZ" 00, two bytes of flags: the kind of check; CRC32 of the flags
//	block   size of the header in units of 4 bytes less 1 (1 to 255), flags, sizes of the data where the flags say so,
//	        filters, zeros, CRC32; LZMA2; zeros to a multiple of 4; check of the plain data
//	index   00, number of blocks, for each its size without zeros and that of its plain data; zeros; CRC32
//	footer  CRC32 of what follows; size of the index in units of 4 bytes less 1, flags as in the header, "YZ"
//
// LZMA2 is a row of chunks, each behind a byte that says what it is: 0 is the end, 1 and 2 are plain bytes (1 forgets what
// was before), 80 to ff are LZMA. Sources of the decoder: lzma-specification.txt of the LZMA SDK, and lzma2_decoder.c of
// the XZ Utils for the chunks, for which no specification was written.
//
// A Reader holds the dictionary that a block asks for, up to 8 MiB more, and 170 KiB; it grows to that with the data.
package xz

import (
	"errors"
	"fmt"
	"io"
)

// MaxDictionary is what `xz -9` asks for.
const MaxDictionary = 64 << 20

var (
	// ErrMemory says that a block asks for a larger dictionary than allowed.
	ErrMemory = errors.New("xz: its dictionary is larger than allowed")
	// ErrUnsupported says that the file is sound as far as it was read, but uses a check or a filter that is not supported.
	ErrUnsupported = errors.New("xz: not supported")
	// ErrDamaged says that the data is not what was compressed. What was given out before may be wrong, too. A file that is
	// too short has io.ErrUnexpectedEOF instead.
	ErrDamaged = errors.New("xz: damaged")
)

func damaged(what string) error { return fmt.Errorf("%w: %s", ErrDamaged, what) }

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
}

// short is what an end means where there must be more.
func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
