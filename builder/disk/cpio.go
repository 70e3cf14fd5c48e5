package disk

import (
	"bytes"
	"fmt"
)

// Modes of the entries of an archive, as stat has them.
const (
	modeDir    = 0o040755
	modeFile   = 0o100644
	modeExec   = 0o100755
	modeDevice = 0o020600
)

// cpio is an archive in the format newc, as the kernel unpacks it (Documentation/driver-api/early-userspace/buffer-format.rst).
// All belongs to root, all times are 0.
type cpio struct {
	buf   bytes.Buffer
	inode int
}

func (c *cpio) dir(name string) { c.add(name, modeDir, 0, 0, nil) }

func (c *cpio) file(name string, mode int, data []byte) { c.add(name, mode, 0, 0, data) }

func (c *cpio) device(name string, major, minor int) { c.add(name, modeDevice, major, minor, nil) }

func (c *cpio) add(name string, mode, major, minor int, data []byte) {
	c.inode++
	const uid, gid, links, mtime, onMajor, onMinor, check = 0, 0, 1, 0, 0, 0, 0
	fmt.Fprintf(&c.buf, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.inode, mode, uid, gid, links, mtime, len(data), onMajor, onMinor, major, minor, len(name)+1, check, name)
	c.pad()
	c.buf.Write(data)
	c.pad()
}

func (c *cpio) pad() {
	for c.buf.Len()%4 != 0 {
		c.buf.WriteByte(0)
	}
}

// bytes ends the archive.
func (c *cpio) bytes() []byte {
	c.add("TRAILER!!!", 0, 0, 0, nil)
	return c.buf.Bytes()
}
