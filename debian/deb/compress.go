package deb

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/xz"
)

// maxDictionary is what `xz -9` asks for; it bounds the memory of a decoder.
const maxDictionary = 64 << 20

// inputBuffer is read at a time from the file.
const inputBuffer = 128 << 10

// decompress gives the content of a member by the ending of its name behind base.
func decompress(r io.Reader, name, base string) (io.Reader, func(), error) {
	r = bufio.NewReaderSize(r, inputBuffer)
	none := func() {}
	switch ending := strings.TrimPrefix(name, base); ending {
	case "":
		return r, none, nil
	case ".xz":
		z, err := xz.NewReader(r, maxDictionary)
		return explained{z}, none, explain(err)
	case ".gz":
		z, err := gzip.NewReader(r)
		return explained{z}, none, explain(err)
	case ".bz2":
		return explained{bzip2.NewReader(r)}, none, nil
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxDictionary), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, none, explain(err)
		}
		return explained{z}, z.Close, nil
	default:
		return nil, none, fault.New(fault.Unsupported, "its member %s is compressed in a way that is not supported", name)
	}
}

// explained says of a decoder's error what it means for a package.
type explained struct{ io.Reader }

func (e explained) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	return n, explain(err)
}

func explain(err error) error {
	switch {
	case err == nil, errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case errors.Is(err, xz.ErrMemory), errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return refused("decompressing it takes more than %d MiB of memory", maxDictionary>>20)
	case errors.Is(err, xz.ErrUnsupported):
		return fault.New(fault.Unsupported, "decompress: %w", err)
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	return truncated("decompress: %w", err)
}
