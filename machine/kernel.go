package machine

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// maxPlainKernel bounds an unpacked kernel.
const maxPlainKernel = 512 << 20

// PlainKernel unpacks a compressed kernel (bzImage) into a folder that is made if missing, and gives the file there, which has the
// image's name: one that is there already is taken, so images are named by what is in them. QEMU enters such a kernel directly (PVH), which
// spares the machine to unpack it. Several may do the same at a time. A kernel that cannot be entered so, or is compressed
// by something else than LZ4 or zstd, is fault.Unsupported: boot the image itself.
func PlainKernel(image, dir string) (string, error) {
	plain := filepath.Join(dir, filepath.Base(image))
	if _, err := os.Stat(plain); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return plain, err
	}
	data, err := os.ReadFile(image)
	if err != nil {
		return "", fmt.Errorf("unpack kernel: %w", err)
	}
	kernel, err := unpackKernel(data)
	if err != nil {
		return "", fmt.Errorf("unpack kernel %s: %w", image, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("unpack kernel: %w", err)
	}
	if err := atomicfile.Write(plain, kernel, 0o600); err != nil {
		return "", fmt.Errorf("unpack kernel: %w", err)
	}
	return plain, nil
}

// Of a bzImage (the kernel's Documentation/x86/boot.rst): offsets of what is read of its header, and what is there.
const (
	setupSectors  = 0x1f1
	headerMagic   = 0x202
	headerVersion = 0x206
	payloadOffset = 0x248 // from the end of the setup
	payloadLength = 0x24c
	headerEnd     = 0x250

	firstPayload = 0x208 // the version of the header that says where the payload is
	sectorSize   = 512
)

// unpackKernel gives the ELF file within a bzImage.
func unpackKernel(image []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(image) < headerEnd || string(image[headerMagic:headerMagic+4]) != "HdrS" || le.Uint16(image[headerVersion:]) < firstPayload {
		return nil, fault.New(fault.Unsupported, "it is no bzImage")
	}
	start := (int64(image[setupSectors])+1)*sectorSize + int64(le.Uint32(image[payloadOffset:]))
	end := start + int64(le.Uint32(image[payloadLength:]))
	const trailer = 4 // the length of what is packed
	if end > int64(len(image)) || end-start < trailer {
		return nil, fault.New(fault.Unsupported, "its payload is cut off")
	}
	packed, size := image[start:end-trailer], le.Uint32(image[end-trailer:])
	if size > maxPlainKernel {
		return nil, fault.New(fault.Unsupported, "its payload has %d MiB", size>>20)
	}
	kernel, err := unpack(packed, int(size))
	if err != nil {
		return nil, err
	}
	if !entersByPVH(kernel) {
		return nil, fault.New(fault.Unsupported, "it has no PVH entry")
	}
	return kernel, nil
}

func unpack(packed []byte, size int) ([]byte, error) {
	var kernel []byte
	var err error
	switch {
	case bytes.HasPrefix(packed, []byte{0x02, 0x21, 0x4c, 0x18}): // the legacy frame, in which kernels are packed
		kernel, err = readSize(lz4.NewReader(bytes.NewReader(packed)), size)
	case bytes.HasPrefix(packed, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		kernel, err = unpackZstd(packed, size)
	default:
		return nil, fault.New(fault.Unsupported, "its payload is not compressed by LZ4 or zstd")
	}
	if err == nil && len(kernel) != size {
		err = fmt.Errorf("it has %d bytes, not %d", len(kernel), size)
	}
	if err != nil {
		return nil, fault.New(fault.Unsupported, "its payload: %w", err)
	}
	return kernel, nil
}

func unpackZstd(packed []byte, size int) ([]byte, error) {
	r, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxPlainKernel))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readSize(r, size)
}

// readSize reads what should have size bytes, and at most one more.
func readSize(r io.Reader, size int) ([]byte, error) {
	var out bytes.Buffer
	out.Grow(size + bytes.MinRead)
	_, err := out.ReadFrom(io.LimitReader(r, int64(size)+1))
	return out.Bytes(), err
}

// entersByPVH says whether a kernel has the note XEN_ELFNOTE_PHYS32_ENTRY (Xen's public/elfnote.h), where QEMU enters it.
func entersByPVH(kernel []byte) bool {
	const phys32Entry, align = 18, 4
	f, err := elf.NewFile(bytes.NewReader(kernel))
	if err != nil {
		return false
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > uint64(len(kernel)) {
			continue
		}
		notes := make([]byte, p.Filesz)
		if _, err := p.ReadAt(notes, 0); err != nil {
			return false
		}
		for len(notes) >= 12 {
			le := f.ByteOrder
			name, data, kind := uint64(le.Uint32(notes)), uint64(le.Uint32(notes[4:])), le.Uint32(notes[8:])
			end := 12 + (name+align-1)/align*align + (data+align-1)/align*align
			if end > uint64(len(notes)) {
				break
			}
			if kind == phys32Entry && name == 4 && string(notes[12:16]) == "Xen\x00" {
				return true
			}
			notes = notes[end:]
		}
	}
	return false
}
