package disk

import (
	"encoding/binary"

	"github.com/bootandshoot/release/internal/fault"
)

// The parts of a PE32+ executable that matter here (Microsoft, PE format, section numbers of 2024-11).
const (
	peOffset       = 0x3c // where the offset of the signature stands
	peMachine      = 4    // from the signature on
	peSections     = 6
	peOptionalSize = 20
	peOptional     = 24
	peSection      = 40 // bytes of an entry of the section table

	// From the optional header on.
	peSectionAlign = 32
	peFileAlign    = 36
	peImageSize    = 56
	peHeadersSize  = 60
	peChecksum     = 64
	peLeast        = 112 // what is there of an optional header without data directories

	peAMD64    = 0x8664
	pePlus     = 0x20b
	peReadable = 0x40000040 // initialised data, readable
)

// section is one more section of an executable.
type section struct {
	name string // at most 8 bytes
	data []byte
}

// pe is an executable whose head was found sound.
type pe struct {
	data                  []byte
	optional, table       int // where the optional header and the section table begin
	count                 int // of sections
	sectionAlign, fileEnd uint64
	fileAlign             uint64
	memoryEnd             uint64
}

// maxImage bounds an executable in memory: its addresses have 32 bits, and no more than this is ever meant.
const maxImage = 1 << 30

func badStub(format string, args ...any) error {
	return fault.New(fault.Failed, "read the boot stub: "+format, args...).
		WithHint("take linuxx64.efi.stub from Debian's package systemd-boot-efi")
}

// parsePE reads the head of an executable for amd64.
func parsePE(data []byte) (pe, error) {
	le := binary.LittleEndian
	if len(data) < peOffset+4 || string(data[:2]) != "MZ" {
		return pe{}, badStub("it is no PE executable")
	}
	head := uint64(le.Uint32(data[peOffset:]))
	if head+peOptional+peLeast > uint64(len(data)) || string(data[head:head+4]) != "PE\x00\x00" {
		return pe{}, badStub("it is no PE executable, or cut off")
	}
	p := pe{data: data, count: int(le.Uint16(data[head+peSections:])), optional: int(head) + peOptional}
	p.table = p.optional + int(le.Uint16(data[head+peOptionalSize:]))
	if le.Uint16(data[head+peMachine:]) != peAMD64 || le.Uint16(data[p.optional:]) != pePlus {
		return pe{}, badStub("it is not for amd64")
	}
	if p.table < p.optional+peLeast || p.table+p.count*peSection > len(data) {
		return pe{}, badStub("its section table is cut off")
	}
	p.sectionAlign, p.fileAlign = uint64(le.Uint32(data[p.optional+peSectionAlign:])), uint64(le.Uint32(data[p.optional+peFileAlign:]))
	if !alignment(p.sectionAlign) || !alignment(p.fileAlign) {
		return pe{}, badStub("its sections are aligned to %d in memory and %d in the file", p.sectionAlign, p.fileAlign)
	}
	p.fileEnd = uint64(len(data))
	for i := range p.count {
		s := data[p.table+i*peSection:]
		p.memoryEnd = max(p.memoryEnd, uint64(le.Uint32(s[8:]))+uint64(le.Uint32(s[12:])))
	}
	if p.memoryEnd > maxImage {
		return pe{}, badStub("it asks for %d MiB of memory", p.memoryEnd>>20)
	}
	return p, nil
}

// alignment reports whether a number is one that sections can have: a power of two up to 64 KiB.
func alignment(n uint64) bool { return n >= sectorSize && n <= 64<<10 && n&(n-1) == 0 }

func alignUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

// with is the executable with further sections behind its own. They are found by name by the stub itself; the headers must
// have room for them, for nothing is moved.
func (p pe) with(sections []section) ([]byte, error) {
	le := binary.LittleEndian
	room := min(int(le.Uint32(p.data[p.optional+peHeadersSize:])), len(p.data)) - p.table - p.count*peSection
	if room < len(sections)*peSection {
		return nil, badStub("its headers have no room for %d more sections", len(sections))
	}
	total := p.fileEnd
	for _, s := range sections {
		total = alignUp(total, p.fileAlign) + alignUp(uint64(len(s.data)), p.fileAlign)
	}
	if p.memoryEnd+total > maxImage {
		return nil, fault.New(fault.Failed, "make the kernel image: kernel and initrd have %d MiB", total>>20)
	}
	out := make([]byte, total)
	copy(out, p.data)
	file, memory := p.fileEnd, p.memoryEnd
	for i, s := range sections {
		file, memory = alignUp(file, p.fileAlign), alignUp(memory, p.sectionAlign)
		copy(out[file:], s.data)
		h := out[p.table+(p.count+i)*peSection:][:peSection]
		clear(h)
		copy(h[:8], s.name)
		le.PutUint32(h[8:], uint32(len(s.data)))
		le.PutUint32(h[12:], uint32(memory))
		le.PutUint32(h[16:], uint32(alignUp(uint64(len(s.data)), p.fileAlign)))
		le.PutUint32(h[20:], uint32(file))
		le.PutUint32(h[36:], peReadable)
		file += alignUp(uint64(len(s.data)), p.fileAlign)
		memory += uint64(len(s.data))
	}
	le.PutUint16(out[p.optional-peOptional+peSections:], uint16(p.count+len(sections)))
	le.PutUint32(out[p.optional+peImageSize:], uint32(alignUp(memory, p.sectionAlign)))
	le.PutUint32(out[p.optional+peChecksum:], 0) // nobody checks it, and who signs sets it
	return out, nil
}

// unifiedImage is the stub with all that it boots. The kernel comes last: it may unpack itself over what follows it.
func unifiedImage(stub, release, kernel, initrd []byte, cmdline string) ([]byte, error) {
	p, err := parsePE(stub)
	if err != nil {
		return nil, err
	}
	return p.with([]section{{".osrel", release}, {".cmdline", []byte(cmdline + "\x00")}, {".initrd", initrd}, {".linux", kernel}})
}
