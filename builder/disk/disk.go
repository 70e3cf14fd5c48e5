package disk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

const (
	mebibyte   = 1 << 20
	rootOffset = mebibyte + espSize
	maxRoot    = 64 << 30 // as large as a layer may be
	idDigits   = 16       // of the root hash in the names of partitions
	maxCmdline = 2047     // the kernel's COMMAND_LINE_SIZE on amd64 without its end
	maxRelease = 64 << 10 // of /etc/os-release
)

// Volume is a data volume: a file system that is found by its label and mounted writable.
type Volume struct {
	Label string
	Path  string // absolute and clean
}

// Request says what a disk is made from.
type Request struct {
	Files   *images.Files
	Own     int    // how many of the topmost layers are the machine's own: they change least, and so lie first on the disk
	Kernel  Kernel // without Initrd: with the modules that the boot loads
	Initrd  []byte // of MakeInitrd; nil makes it
	Stub    []byte // systemd's linuxx64.efi.stub
	Data    []Volume
	Cmdline []string // further words of the kernel's command line, such as init=/srv/app
	Epoch   int64    // time of all files, in seconds since 1970
}

// Result is what was made.
type Result struct {
	Size     int64  // of the disk, in bytes
	RootHash string // of the root's hash tree, in hex
	Cmdline  string // the whole command line of the kernel
	Initrd   []byte // for a boot without firmware, with the kernel and this command line
}

// Build writes a disk into an empty file. After an error the file holds anything. An image for another architecture than
// amd64 is fault.Unsupported.
func Build(ctx context.Context, f *os.File, r Request) (Result, error) {
	res, err := build(ctx, f, r)
	if errors.Is(err, unix.ENOSPC) {
		err = fault.New(fault.NoSpace, "make the disk: %w", err).WithHint("free space where %s lies: a disk is about as large as its image", f.Name())
	}
	return res, err
}

func build(ctx context.Context, f *os.File, r Request) (Result, error) {
	if arch := r.Files.Image.Config.Architecture; arch != "amd64" {
		return Result{}, fault.New(fault.Unsupported, "make a disk: the image is for %s; machines are made for amd64", arch)
	}
	initrd := r.Initrd
	if initrd == nil {
		var err error
		if initrd, err = MakeInitrd(r.Kernel, "amd64"); err != nil {
			return Result{}, err
		}
	}
	root, size, err := writeRoot(ctx, f, r)
	if err != nil {
		return Result{}, err
	}
	res := Result{RootHash: root.hash(), Initrd: initrd}
	if res.Cmdline, err = commandLine(root, r); err != nil {
		return Result{}, err
	}
	kernel, err := unifiedImage(r.Stub, osRelease(r.Files), r.Kernel.Image, initrd, res.Cmdline)
	if err != nil {
		return Result{}, err
	}
	res.Size, err = writeParts(f, root, size, kernel)
	return res, err
}

// writeRoot writes the ext4 to its place and hashes it. size is its length in bytes.
func writeRoot(ctx context.Context, f *os.File, r Request) (root verity, size int64, err error) {
	w := &window{file: f, base: rootOffset}
	tree := treeStream(ctx, r.Files, r.Own, r.Epoch)
	defer tree.Close()
	if err := tar2ext4.ConvertTarToExt4(bufio.NewReaderSize(tree, streamBuffer), w, tar2ext4.MaximumDiskSize(maxRoot)); err != nil {
		return verity{}, 0, fmt.Errorf("write the root file system: %w", err)
	}
	if err := f.Truncate(rootOffset + w.total); err != nil { // zeros at its end were not written
		return verity{}, 0, fmt.Errorf("write the root file system: %w", err)
	}
	root, err = hashTree(ctx, offsetReader{f, rootOffset}, w.total/blockSize)
	return root, w.total, err
}

// offsetReader reads a file from an offset on.
type offsetReader struct {
	file   *os.File
	offset int64
}

func (o offsetReader) ReadAt(p []byte, at int64) (int, error) { return o.file.ReadAt(p, o.offset+at) }

// writeParts writes all but the root, which is there, and gives the size of the disk.
func writeParts(f *os.File, root verity, rootSize int64, kernel []byte) (int64, error) {
	id := root.hash()[:idDigits]
	rootSize = wholeMebibytes(rootSize)
	hashes := rootOffset + rootSize
	total := hashes + wholeMebibytes(root.size()) + mebibyte
	parts := []partition{
		{name: "esp", kind: typeESP, id: guidOf(root.root[:], "esp"), offset: mebibyte, size: espSize},
		{name: "root-" + id, kind: typeRoot, id: guidOf(root.root[:], "root"), offset: rootOffset, size: rootSize},
		{name: "hash-" + id, kind: typeRootVerity, id: guidOf(root.root[:], "hash"), offset: hashes, size: wholeMebibytes(root.size())},
	}
	if err := f.Truncate(total); err != nil {
		return 0, fmt.Errorf("write the disk: %w", err)
	}
	if err := root.write(f, hashes, guidOf(root.root[:], "verity")); err != nil {
		return 0, fmt.Errorf("write the hash tree: %w", err)
	}
	if err := writeESP(f, mebibyte, kernel, guidOf(root.root[:], "esp")); err != nil {
		return 0, err
	}
	if err := writeGPT(f, total, guidOf(root.root[:], "disk"), parts); err != nil {
		return 0, fmt.Errorf("write the partition table: %w", err)
	}
	return total, nil
}

func wholeMebibytes(n int64) int64 { return (n + mebibyte - 1) / mebibyte * mebibyte }

// commandLine is that of the kernel. The console is the first serial line, which QEMU and EC2 keep; a machine that panics
// starts anew, or ends where its keeper wants that.
func commandLine(root verity, r Request) (string, error) {
	words := []string{"console=ttyS0,115200", "quiet", "panic=1", fmt.Sprintf("release.root=%s:%d", root.hash(), root.blocks)}
	for _, v := range r.Data {
		if v.Label == "" || len(v.Label) > 16 || strings.Contains(v.Label, ":") || !path.IsAbs(v.Path) || path.Clean(v.Path) != v.Path || v.Path == "/" {
			return "", fault.New(fault.Invalid, "mount the volume %q at %q: want a label of at most 16 bytes without a colon, and an absolute path", v.Label, v.Path)
		}
		words = append(words, "release.data="+v.Label+":"+v.Path)
	}
	for _, word := range append(words[4:len(words):len(words)], r.Cmdline...) {
		if word == "" || strings.ContainsFunc(word, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' }) {
			return "", fault.New(fault.Invalid, "the kernel's command line cannot hold %q: want words of visible ASCII without quotes", word)
		}
	}
	for _, word := range r.Cmdline {
		if strings.HasPrefix(word, "release.") {
			return "", fault.New(fault.Invalid, "the kernel's command line has %q: words that begin with release. are not for others", word)
		}
	}
	line := strings.Join(append(words, r.Cmdline...), " ")
	if len(line) > maxCmdline {
		return "", fault.New(fault.Invalid, "the kernel's command line has %d bytes, more than %d", len(line), maxCmdline)
	}
	return line, nil
}

// osRelease is what boot menus show: what the image says of itself, if it does.
func osRelease(files *images.Files) []byte {
	data, err := files.Read("etc/os-release", maxRelease)
	if err != nil {
		return []byte("ID=release\nNAME=release\n")
	}
	return data
}
