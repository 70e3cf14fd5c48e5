package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

const (
	sectorSize = 512
	gptEntries = 128
	gptEntry   = 128                                // bytes of an entry
	gptTable   = gptEntries * gptEntry / sectorSize // sectors of all entries
	gptFirst   = 2 + gptTable                       // the first sector that partitions may use
	gptHeader  = 92                                 // bytes of the header
	maxName    = 72 / 2                             // UTF-16 units of a partition's name
)

// guid is as it is written in text; on disk its first three numbers are little endian (UEFI 2.10, appendix A).
type guid [16]byte

// Types of partitions (UEFI 2.10, section 5.3.3; UAPI group, discoverable partitions).
var (
	typeESP        = guid{0xc1, 0x2a, 0x73, 0x28, 0xf8, 0x1f, 0x11, 0xd2, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}
	typeRoot       = guid{0x4f, 0x68, 0xbc, 0xe3, 0xe8, 0xcd, 0x4d, 0xb1, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09}
	typeRootVerity = guid{0x2c, 0x73, 0x57, 0xed, 0xeb, 0xd2, 0x46, 0xd9, 0xae, 0xc1, 0x23, 0xd4, 0x37, 0xec, 0x2b, 0xf5}
)

// guidOf is a name's GUID below a seed: a UUID of version 8 (RFC 9562) made of their hash.
func guidOf(seed []byte, name string) guid {
	sum := sha256.Sum256(append([]byte(name+"\x00"), seed...))
	g := guid(sum[:16])
	g[6] = g[6]&0x0f | 0x80
	g[8] = g[8]&0x3f | 0x80
	return g
}

func (g guid) onDisk() [16]byte {
	return [16]byte{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]}
}

// partition is a part of a disk, in bytes.
type partition struct {
	name         string // ASCII, at most 36 characters
	kind, id     guid
	offset, size int64
}

// writeGPT writes the protective MBR and both tables of a disk of size bytes (UEFI 2.10, section 5).
func writeGPT(w io.WriterAt, size int64, id guid, parts []partition) error {
	entries := make([]byte, gptTable*sectorSize)
	for i, p := range parts {
		p.encode(entries[i*gptEntry:])
	}
	last := size/sectorSize - 1
	for _, piece := range []struct {
		sector int64
		data   []byte
	}{
		{0, protectiveMBR(last)},
		{1, gptHead(id, entries, 1, last, 2, last)},
		{2, entries},
		{last - gptTable, entries},
		{last, gptHead(id, entries, last, 1, last-gptTable, last)},
	} {
		if _, err := w.WriteAt(piece.data, piece.sector*sectorSize); err != nil {
			return err
		}
	}
	return nil
}

func (p partition) encode(b []byte) {
	kind, id := p.kind.onDisk(), p.id.onDisk()
	copy(b, kind[:])
	copy(b[16:], id[:])
	binary.LittleEndian.PutUint64(b[32:], uint64(p.offset/sectorSize))
	binary.LittleEndian.PutUint64(b[40:], uint64((p.offset+p.size)/sectorSize-1))
	for i, unit := range utf16.Encode([]rune(p.name)) {
		if i < maxName {
			binary.LittleEndian.PutUint16(b[56+2*i:], unit)
		}
	}
}

// gptHead is the sector of a header at one place, which names the other; last is the disk's last sector.
func gptHead(id guid, entries []byte, at, other, table, last int64) []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(b, "EFI PART")
	le.PutUint32(b[8:], 0x10000) // revision 1.0
	le.PutUint32(b[12:], gptHeader)
	le.PutUint64(b[24:], uint64(at))
	le.PutUint64(b[32:], uint64(other))
	le.PutUint64(b[40:], gptFirst)
	le.PutUint64(b[48:], uint64(last-gptTable-1))
	onDisk := id.onDisk()
	copy(b[56:], onDisk[:])
	le.PutUint64(b[72:], uint64(table))
	le.PutUint32(b[80:], gptEntries)
	le.PutUint32(b[84:], gptEntry)
	le.PutUint32(b[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:gptHeader]))
	return b
}

// protectiveMBR says to those who know no GPT that the disk is full.
func protectiveMBR(last int64) []byte {
	b := make([]byte, sectorSize)
	entry := b[446:]
	copy(entry[1:], []byte{0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff}) // first and last place in cylinders, type GPT
	binary.LittleEndian.PutUint32(entry[8:], 1)
	binary.LittleEndian.PutUint32(entry[12:], uint32(min(last, 1<<32-1)))
	b[510], b[511] = 0x55, 0xaa
	return b
}
