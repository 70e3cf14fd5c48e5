package disk

import (
	"encoding/binary"
	"io"

	"github.com/bootandshoot/release/internal/fault"
)

// The FAT32 of the EFI system partition (Microsoft, FAT specification 1.03, whose names these are). Its size is fixed, and all of
// it follows from the length of its one file: each chain of clusters is in one piece.
const (
	espSize        = 96 << 20
	fatCluster     = sectorSize // one sector a cluster: a FAT32 has at least 65525 of them
	fatReserved    = 32         // sectors before the first table
	fatSectors     = 1536       // of a table: an entry of 4 bytes for each sector of the partition
	fatFirst       = fatReserved + 2*fatSectors
	fatClusters    = espSize/sectorSize - fatFirst
	fatEnd         = 0x0fffffff
	fatDirCluster  = 2 // the root; then EFI, BOOT and the file
	fatFileCluster = 5
	fatMaxFile     = (fatClusters - 3) * fatCluster
)

// writeESP writes at an offset a file system that holds data as EFI/BOOT/BOOTX64.EFI. The volume id is id's.
func writeESP(w io.WriterAt, offset int64, data []byte, id guid) error {
	if len(data) > fatMaxFile {
		return fault.New(fault.Failed, "write the EFI system partition: kernel and initrd have %d MiB, more than its %d", len(data)>>20, fatMaxFile>>20).
			WithHint("use a smaller kernel, such as linux-image-cloud-amd64, or fewer modules")
	}
	used := uint32((len(data) + fatCluster - 1) / fatCluster)
	boot, info := fatBootSector(id), fatInfoSector(used+3)
	table := fatTable(used)
	for _, piece := range []struct {
		sector int64
		data   []byte
	}{
		{0, boot}, {1, info}, {6, boot}, {7, info}, // the second pair is their copy
		{fatReserved, table}, {fatReserved + fatSectors, table},
		{fatFirst, fatEntries(fatEntry("RELEASE    ", 0x08, 0, 0), fatEntry("EFI        ", 0x10, fatDirCluster+1, 0))},
		{fatFirst + 1, fatFolder(fatDirCluster+1, 0, fatEntry("BOOT       ", 0x10, fatDirCluster+2, 0))},
		{fatFirst + 2, fatFolder(fatDirCluster+2, fatDirCluster+1, fatEntry("BOOTX64 EFI", 0x20, fatFileCluster, uint32(len(data))))},
		{fatFirst + 3, data},
	} {
		if _, err := w.WriteAt(piece.data, offset+piece.sector*sectorSize); err != nil {
			return err
		}
	}
	return nil
}

func fatBootSector(id guid) []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(b, "\xeb\x58\x90release ") // a jump over all this, as is expected there; who made it
	le.PutUint16(b[11:], sectorSize)
	b[13] = fatCluster / sectorSize
	le.PutUint16(b[14:], fatReserved)
	b[16] = 2                // tables
	b[21] = 0xf8             // a fixed disk
	le.PutUint16(b[24:], 32) // sectors a track and heads, for nobody
	le.PutUint16(b[26:], 64)
	le.PutUint32(b[32:], espSize/sectorSize)
	le.PutUint32(b[36:], fatSectors)
	le.PutUint32(b[44:], fatDirCluster)
	le.PutUint16(b[48:], 1) // the information sector
	le.PutUint16(b[50:], 6) // the copy of this sector
	b[64] = 0x80
	b[66] = 0x29 // what follows is there
	copy(b[67:71], id[:])
	copy(b[71:], "RELEASE    FAT32   ")
	b[510], b[511] = 0x55, 0xaa
	return b
}

// fatInfoSector says how many clusters are free and where to look.
func fatInfoSector(used uint32) []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	le.PutUint32(b[488:], fatClusters-used)
	le.PutUint32(b[492:], fatDirCluster+used)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// fatTable chains three folders of one cluster each, and the clusters of the file.
func fatTable(used uint32) []byte {
	list := []uint32{0x0ffffff8, fatEnd, fatEnd, fatEnd, fatEnd}
	for i := range used {
		next := fatFileCluster + i + 1
		if i == used-1 {
			next = fatEnd
		}
		list = append(list, next)
	}
	b := make([]byte, 4*len(list))
	for i, next := range list {
		binary.LittleEndian.PutUint32(b[4*i:], next)
	}
	return b
}

// fatEntry is a name of 8 and 3 characters with its attributes. All dates are the first that there is, 1980-01-01.
func fatEntry(name string, attributes byte, cluster, size uint32) []byte {
	const day = 1<<5 | 1
	b := make([]byte, 32)
	le := binary.LittleEndian
	copy(b, name)
	b[11] = attributes
	le.PutUint16(b[16:], day)
	le.PutUint16(b[18:], day)
	le.PutUint16(b[20:], uint16(cluster>>16))
	le.PutUint16(b[24:], day)
	le.PutUint16(b[26:], uint16(cluster))
	le.PutUint32(b[28:], size)
	return b
}

// fatFolder is the cluster of a folder; a parent that is the root counts as 0.
func fatFolder(self, parent uint32, entry []byte) []byte {
	return fatEntries(fatEntry(".          ", 0x10, self, 0), fatEntry("..         ", 0x10, parent, 0), entry)
}

func fatEntries(list ...[]byte) []byte {
	b := make([]byte, 0, fatCluster)
	for _, e := range list {
		b = append(b, e...)
	}
	return append(b, make([]byte, fatCluster-len(b))...)
}
