package disk

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

const (
	blockSize    = 4096 // of data and of hashes
	hashesABlock = blockSize / sha256.Size
	hashChunk    = 256 // blocks that are read and hashed in one go
)

// verity is the hash tree of a device.
type verity struct {
	root   [sha256.Size]byte
	blocks int64    // of data
	levels [][]byte // whole blocks, the lowest first
}

// hashTree hashes the first blocks of r, on all processors.
func hashTree(ctx context.Context, r io.ReaderAt, blocks int64) (verity, error) {
	v := verity{blocks: blocks}
	level := make([]byte, wholeBlocks(blocks*sha256.Size))
	var next atomic.Int64 // chunk that nobody took yet
	var group errgroup.Group
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			buf := make([]byte, hashChunk*blockSize)
			for {
				at := (next.Add(1) - 1) * hashChunk
				if at >= blocks {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := hashBlocks(r, at, buf[:min(hashChunk, blocks-at)*blockSize], level[at*sha256.Size:]); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return verity{}, fmt.Errorf("hash the root: %w", err)
	}
	if blocks == 1 { // no tree: the block's hash is the root's
		copy(v.root[:], level)
		return v, nil
	}
	v.levels = append(v.levels, level)
	for len(level) > blockSize {
		level = hashLevel(level)
		v.levels = append(v.levels, level)
	}
	v.root = sha256.Sum256(level)
	return v, nil
}

// hashBlocks reads blocks of r, the first of which is at, and writes their hashes.
func hashBlocks(r io.ReaderAt, at int64, buf, hashes []byte) error {
	if _, err := r.ReadAt(buf, at*blockSize); err != nil {
		return err
	}
	for i := 0; i < len(buf); i += blockSize {
		sum := sha256.Sum256(buf[i : i+blockSize])
		copy(hashes[i/blockSize*sha256.Size:], sum[:])
	}
	return nil
}

// hashLevel is the level above one.
func hashLevel(level []byte) []byte {
	above := make([]byte, wholeBlocks(int64(len(level)/hashesABlock)))
	for i := 0; i < len(level); i += blockSize {
		sum := sha256.Sum256(level[i : i+blockSize])
		copy(above[i/hashesABlock:], sum[:])
	}
	return above
}

func wholeBlocks(n int64) int64 { return (n + blockSize - 1) / blockSize * blockSize }

// hash is the root hash in hex.
func (v verity) hash() string { return hex.EncodeToString(v.root[:]) }

// size is the length of superblock and tree in bytes.
func (v verity) size() int64 {
	n := int64(blockSize)
	for _, level := range v.levels {
		n += int64(len(level))
	}
	return n
}

// write puts superblock and tree at an offset.
func (v verity) write(w io.WriterAt, offset int64, id [16]byte) error {
	if _, err := w.WriteAt(v.superblock(id), offset); err != nil {
		return err
	}
	offset += blockSize
	for i := len(v.levels) - 1; i >= 0; i-- {
		if _, err := w.WriteAt(v.levels[i], offset); err != nil {
			return err
		}
		offset += int64(len(v.levels[i]))
	}
	return nil
}

// superblock is what cryptsetup's tools read (lib/verity/verity.c, struct verity_sb).
func (v verity) superblock(id [16]byte) []byte {
	b := make([]byte, blockSize)
	le := binary.LittleEndian
	copy(b, "verity")
	le.PutUint32(b[8:], 1)  // version
	le.PutUint32(b[12:], 1) // hash type: the kernel's own
	copy(b[16:], id[:])
	copy(b[32:], "sha256")
	le.PutUint32(b[64:], blockSize) // of data
	le.PutUint32(b[68:], blockSize) // of hashes
	le.PutUint64(b[72:], uint64(v.blocks))
	return b // no salt: its length at 80 is 0
}
