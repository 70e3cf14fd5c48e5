package ami

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// BlockSize is that of the EBS direct APIs, in bytes.
const BlockSize = 512 << 10

// sums are the SHA-256 of a disk's blocks, in order, 32 bytes each; zeros for a block of zeros. The last block is filled up with zeros.
type sums []byte

func (s sums) blocks() int       { return len(s) / sha256.Size }
func (s sums) of(i int) []byte   { return s[i*sha256.Size : (i+1)*sha256.Size] }
func (s sums) isZero(i int) bool { return bytes.Equal(s.of(i), zeros[:sha256.Size]) }
func (s sums) has(i int) bool    { return i < s.blocks() && !s.isZero(i) }
func blocksIn(size int64) int    { return int((size + BlockSize - 1) / BlockSize) }
func gibOf(size int64) int64     { return max(1, (size+1<<30-1)>>30) }
func fileDigest(d string) string { return strings.ReplaceAll(d, ":", "-") }
func recordable(digest string) bool {
	return len(digest) > 7 && strings.HasPrefix(digest, "sha256:") && !strings.ContainsAny(digest[7:], `/\.:`)
}

var zeros = make([]byte, BlockSize)

// sumsOf reads the whole disk, on all processors.
func sumsOf(ctx context.Context, d Disk) (sums, error) {
	all := make(sums, blocksIn(d.Size)*sha256.Size)
	workers := runtime.GOMAXPROCS(0)
	group, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		group.Go(func() error {
			block := make([]byte, BlockSize)
			for i := w; i < all.blocks(); i += workers {
				if err := ctx.Err(); err != nil {
					return err
				}
				sum, zero, err := readBlock(d, i, block)
				if err != nil {
					return err
				}
				if !zero {
					copy(all.of(i), sum[:])
				}
			}
			return nil
		})
	}
	return all, group.Wait()
}

// readBlock reads one block into the given 512 KiB and gives its checksum.
func readBlock(d Disk, i int, block []byte) (sum [sha256.Size]byte, zero bool, err error) {
	at := int64(i) * BlockSize
	want := min(BlockSize, d.Size-at)
	n, err := d.Content.ReadAt(block[:want], at)
	if int64(n) < want {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return sum, false, fmt.Errorf("read disk %s at %d: %w", d.Digest, at, err)
	}
	clear(block[want:])
	if bytes.Equal(block, zeros) {
		return sum, true, nil
	}
	return sha256.Sum256(block), false, nil
}

// sumsFor are those of a disk: from its record, or from its bytes, which makes the record.
func (s *Store) sumsFor(ctx context.Context, d Disk) (sums, error) {
	if known := s.recorded(d.Digest); known.blocks() == blocksIn(d.Size) {
		return known, nil
	}
	all, err := sumsOf(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := atomicfile.Write(s.sumsFile(d.Digest), all, 0o600); err != nil {
		return nil, fault.New(fault.Failed, "keep the checksums of a disk: %w", err)
	}
	return all, nil
}

func (s *Store) sumsFile(digest string) string {
	return filepath.Join(s.opts.Dir, fileDigest(digest)+".sums")
}

// recorded is what is known of a disk, nil for nothing.
func (s *Store) recorded(digest string) sums {
	if !recordable(digest) {
		return nil
	}
	all, err := os.ReadFile(s.sumsFile(digest))
	if err != nil || len(all)%sha256.Size != 0 {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("the checksums of a disk cannot be used", "disk", digest, "error", err)
		}
		return nil
	}
	return all
}

// changed are the blocks to write for a disk over another one; nil before: for a disk alone.
func changed(now, before sums) (list []int) {
	for i := range max(now.blocks(), before.blocks()) {
		switch {
		case i >= now.blocks(): // the disk is shorter: what was there is zeros now
			if before.has(i) {
				list = append(list, i)
			}
		case i >= before.blocks():
			if now.has(i) {
				list = append(list, i)
			}
		case !bytes.Equal(now.of(i), before.of(i)):
			list = append(list, i)
		}
	}
	return list
}
