package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

// The format qcow2, version 3 (QEMU, docs/interop/qcow2.txt). All numbers are big endian.
const (
	clusterBits    = 16
	cluster        = 1 << clusterBits
	qcowHeader     = 112
	qcowZstd       = 1 // of the field for the kind of compression
	qcowCompressed = 1 << 62
	qcowOwned      = 1 << 63 // the cluster has one user, so that a writer need not copy it
	l2Entries      = cluster / 8
	refEntries     = cluster / 2 // counts of 16 bits in a block
	maxQCOW2       = 16 << 40
)

// QCOW2 chooses the form of a qcow2 file.
type QCOW2 struct {
	Compress bool // clusters with zstd; QEMU reads that since 5.1
}

// WriteQCOW2 writes raw, a disk whose size is a multiple of 512 bytes, into an empty file as qcow2. Memory is bounded: 8 bytes for
// each cluster of 64 KiB.
func WriteQCOW2(ctx context.Context, f, raw *os.File, o QCOW2) error {
	info, err := raw.Stat()
	if err != nil {
		return fmt.Errorf("write qcow2: %w", err)
	}
	if info.Size() > maxQCOW2 || info.Size()%sectorSize != 0 {
		return fault.New(fault.Invalid, "write qcow2: a disk of %d bytes", info.Size())
	}
	q := newQCOW2(f, info.Size(), o)
	if err := q.copy(ctx, raw); err != nil {
		return fmt.Errorf("write qcow2: %w", err)
	}
	if err := q.finish(); err != nil {
		return fmt.Errorf("write qcow2: %w", err)
	}
	return nil
}

type qcow2 struct {
	file    *os.File
	size    int64
	packer  *zstd.Encoder // nil: clusters are plain
	l2      []uint64      // of all tables, in a row
	end     int64         // where the next data goes
	counts  []uint16      // of users, for each cluster of the file
	refs    int64         // clusters of the refcount table
	blocks  int64         // refcount blocks
	l1At    int64
	l1Count int64
}

// newQCOW2 lays the tables out. There are refcounts for the case that every cluster is written.
func newQCOW2(f *os.File, size int64, o QCOW2) *qcow2 {
	q := &qcow2{file: f, size: size}
	clusters := divUp(size, cluster)
	q.l1Count = divUp(clusters, l2Entries)
	tables := divUp(q.l1Count*8, cluster) + q.l1Count
	for { // refcounts count themselves
		all := 1 + q.refs + q.blocks + tables + clusters
		blocks := divUp(all, refEntries)
		refs := divUp(blocks*8, cluster)
		if blocks == q.blocks && refs == q.refs {
			break
		}
		q.blocks, q.refs = blocks, refs
	}
	q.l1At = (1 + q.refs + q.blocks) * cluster
	q.l2 = make([]uint64, q.l1Count*l2Entries)
	q.counts = make([]uint16, q.blocks*refEntries)
	q.end = (1 + q.refs + q.blocks + tables) * cluster
	for i := range q.end / cluster {
		q.counts[i] = 1
	}
	if o.Compress {
		// Errors are for options that make no sense.
		q.packer, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	}
	return q
}

func divUp(n, by int64) int64 { return (n + by - 1) / by }

// copy writes the clusters that are not zero. Holes are not read.
func (q *qcow2) copy(ctx context.Context, raw *os.File) error {
	buf := make([]byte, cluster)
	for at := int64(0); at < q.size; {
		next, err := nextData(raw, at, q.size)
		if err != nil {
			return err
		}
		if at = next / cluster * cluster; at >= q.size {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		clear(buf)
		if _, err := raw.ReadAt(buf, at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := q.add(at/cluster, buf); err != nil {
			return err
		}
		at += cluster
	}
	return nil
}

// nextData is where the next data of a sparse file begins; size when there is none.
func nextData(raw *os.File, at, size int64) (int64, error) {
	next, err := unix.Seek(int(raw.Fd()), at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, nil
	case errors.Is(err, unix.EINVAL): // a file system without holes
		return at, nil
	case err != nil:
		return 0, fmt.Errorf("look for data in %s: %w", raw.Name(), err)
	}
	return max(next, at), nil
}

func (q *qcow2) add(i int64, data []byte) error {
	if bytes.Equal(data, make([]byte, cluster)) {
		return nil
	}
	if q.packer != nil {
		if packed := q.packer.EncodeAll(data, nil); len(packed) < cluster {
			return q.addPacked(i, packed)
		}
	}
	q.end = divUp(q.end, cluster) * cluster
	q.l2[i] = qcowOwned | uint64(q.end)
	q.counts[q.end/cluster]++
	_, err := q.file.WriteAt(data, q.end)
	q.end += cluster
	return err
}

// addPacked appends a compressed cluster, which may lie across clusters of the file. Its entry says how many sectors further it
// goes than the one where it begins; all clusters that it touches count it.
func (q *qcow2) addPacked(i int64, packed []byte) error {
	const sizeShift = 62 - (clusterBits - 8)
	last := q.end + int64(len(packed)) - 1
	sectors := last/sectorSize - q.end/sectorSize
	q.l2[i] = qcowCompressed | uint64(sectors)<<sizeShift | uint64(q.end)
	for c := q.end / cluster; c <= last/cluster; c++ {
		q.counts[c]++
	}
	_, err := q.file.WriteAt(packed, q.end)
	q.end = last + 1
	return err
}

// finish writes the tables and the header. A compressed cluster at the end is read in whole sectors.
func (q *qcow2) finish() error {
	if err := q.file.Truncate(divUp(q.end, cluster) * cluster); err != nil {
		return err
	}
	l1 := make([]uint64, q.l1Count)
	l2At := q.l1At + divUp(q.l1Count*8, cluster)*cluster
	for i := range l1 {
		l1[i] = qcowOwned | uint64(l2At+int64(i)*cluster)
	}
	refs := make([]uint64, q.blocks)
	for i := range refs {
		refs[i] = uint64((1 + q.refs + int64(i)) * cluster)
	}
	for _, piece := range []struct {
		at   int64
		data any
	}{
		{cluster, refs}, {(1 + q.refs) * cluster, q.counts}, {q.l1At, l1}, {l2At, q.l2}, {0, q.header()},
	} {
		var buf bytes.Buffer
		if err := binary.Write(&buf, binary.BigEndian, piece.data); err != nil {
			return err
		}
		if _, err := q.file.WriteAt(buf.Bytes(), piece.at); err != nil {
			return err
		}
	}
	return nil
}

func (q *qcow2) header() []byte {
	b := make([]byte, qcowHeader+8) // behind it the end of the list of extensions, which is zero
	be := binary.BigEndian
	copy(b, "QFI\xfb")
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], clusterBits)
	be.PutUint64(b[24:], uint64(q.size))
	be.PutUint32(b[36:], uint32(q.l1Count))
	be.PutUint64(b[40:], uint64(q.l1At))
	be.PutUint64(b[48:], cluster) // the refcount table
	be.PutUint32(b[56:], uint32(q.refs))
	be.PutUint32(b[96:], 4) // counts of 1<<4 bits
	be.PutUint32(b[100:], qcowHeader)
	if q.packer != nil {
		be.PutUint64(b[72:], 1<<3) // incompatible: the kind of compression is not the first one
		b[104] = qcowZstd
	}
	return b
}
