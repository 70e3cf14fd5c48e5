package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const blockSize = 4096 // of the root, and of its hashes

// Requests to the device mapper (the kernel's include/uapi/linux/dm-ioctl.h). The number of a request is
// _IOWR(0xfd, n, struct dm_ioctl).
const (
	dmSize     = 312 // of struct dm_ioctl
	dmCreate   = 3
	dmResume   = 6 // DM_DEV_SUSPEND, which without the flag to suspend resumes
	dmLoad     = 9
	dmReadOnly = 1 << 0
	dmSpecSize = 40 // of struct dm_target_spec
)

func dmRequest(n uintptr) uintptr { return 3<<30 | dmSize<<16 | 0xfd<<8 | n }

// openRoot makes the verity device over the partitions of the root.
func openRoot(line commandLine) (string, error) {
	data, err := partition("root-" + line.id())
	if err != nil {
		return "", err
	}
	hashes, err := partition("hash-" + line.id())
	if err != nil {
		return "", err
	}
	dev, err := mapDevice("root", line.blocks*blockSize/512, "verity", verityTable(data, hashes, line))
	if err != nil {
		return "", fmt.Errorf("set up dm-verity for %s: %w", data, err)
	}
	return awaitDevice("the name "+dev, func(name, _ string) bool { return "/"+name == dev })
}

// verityTable is the target's line (Documentation/admin-guide/device-mapper/verity.rst). The tree begins behind the superblock,
// there is no salt. A machine whose root is not what it was has no business to go on.
func verityTable(data, hashes string, line commandLine) string {
	return fmt.Sprintf("1 %s %s %d %d %d 1 sha256 %s - 1 panic_on_corruption", data, hashes, blockSize, blockSize, line.blocks, line.hash)
}

// mapDevice makes a read-only device of one target and gives its name, /dev/dm-N.
func mapDevice(name string, sectors uint64, target, table string) (string, error) {
	control, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	answer, err := ask(control, dmCreate, dmHead(name, dmReadOnly, nil))
	if err != nil {
		return "", fmt.Errorf("create device: %w", err)
	}
	if _, err := ask(control, dmLoad, dmHead(name, dmReadOnly, dmTarget(sectors, target, table))); err != nil {
		return "", fmt.Errorf("load table %q: %w", table, err)
	}
	if _, err := ask(control, dmResume, dmHead(name, dmReadOnly, nil)); err != nil {
		return "", fmt.Errorf("activate device: %w", err)
	}
	number := binary.NativeEndian.Uint64(answer[40:])
	return fmt.Sprintf("/dev/dm-%d", unix.Minor(number)), nil
}

// dmHead is a struct dm_ioctl with what follows it.
func dmHead(name string, flags uint32, targets []byte) []byte {
	b := make([]byte, dmSize, dmSize+len(targets))
	ne := binary.NativeEndian
	ne.PutUint32(b[0:], 4) // the interface's version 4.0.0
	ne.PutUint32(b[12:], uint32(dmSize+len(targets)))
	ne.PutUint32(b[16:], dmSize) // where the targets begin
	if targets != nil {
		ne.PutUint32(b[20:], 1)
	}
	ne.PutUint32(b[28:], flags)
	copy(b[48:48+127], name)
	return append(b, targets...)
}

// dmTarget is a struct dm_target_spec that covers the whole device, and its parameters.
func dmTarget(sectors uint64, kind, table string) []byte {
	length := (dmSpecSize + len(table) + 1 + 7) / 8 * 8
	b := make([]byte, length)
	ne := binary.NativeEndian
	ne.PutUint64(b[8:], sectors)
	ne.PutUint32(b[20:], uint32(length))
	copy(b[24:40], kind)
	copy(b[dmSpecSize:], table)
	return b
}

// ask makes a request and gives the answer, which lies where the request did.
func ask(control *os.File, n uintptr, request []byte) ([]byte, error) {
	request = bytes.Clone(request)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, control.Fd(), dmRequest(n), uintptr(unsafe.Pointer(&request[0])))
	if errno != 0 {
		return nil, errno
	}
	return request, nil
}
