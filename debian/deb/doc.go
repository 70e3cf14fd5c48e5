// Package deb reads .deb files: what a package says of itself, and what it puts into a system. Nothing is written and
// nothing is believed: sizes, counts and names are bounded and checked before a caller sees them.
//
// A .deb (deb(5)) is an ar archive of at least three members, in this order:
//
//	debian-binary      "2.0\n", or another minor number
//	control.tar[.Z]    control, conffiles, md5sums, triggers, maintainer scripts, templates
//	data.tar[.Z]       the files, as they lie in the system
//
// Z is gz, xz, zst or nothing. Members whose name begins with _ are passed over, as dpkg does; so is what follows data.
package deb

import (
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

// Limits bound what a package may make its reader do. The defaults are far above what Debian ships.
type Limits struct {
	Bytes   int64 // all files of a package, unpacked; default 16 GiB
	Ratio   int64 // unpacked bytes for one compressed one, beyond the first 64 MiB; default 400
	Entries int   // names in the data member; default one million
	Control int64 // the control member, unpacked; default 64 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = 16 << 30
	}
	if l.Ratio == 0 {
		l.Ratio = 400
	}
	if l.Entries == 0 {
		l.Entries = 1_000_000
	}
	if l.Control == 0 {
		l.Control = 64 << 20
	}
	return l
}

// freeBytes unpack at any ratio: small packages of zeros are harmless.
const freeBytes = 64 << 20

// data is how many bytes a data member of that length may unpack to.
func (l Limits) data(compressed int64) int64 {
	if compressed > l.Bytes/l.Ratio {
		return l.Bytes
	}
	return min(l.Bytes, freeBytes+compressed*l.Ratio)
}

// Type is the kind of an entry.
type Type byte

// The kinds of entries.
const (
	File Type = iota
	Dir
	Symlink
	HardLink
	CharDevice
	BlockDevice
	Fifo
)

// Entry is one name of a package.
type Entry struct {
	Path         string // clean, relative, slash-separated; "." is the root folder
	Type         Type
	Mode         uint32 // at most 07777
	UID, GID     int
	Size         int64             // of a File, in bytes
	Link         string            // target of a Symlink as it is; Path of an earlier File of the package for a HardLink
	Major, Minor int64             // of a device
	Xattrs       map[string]string // name → value, raw bytes
	Time         time.Time
}

// Script is a file of the control member.
type Script struct {
	Mode uint32 // permission bits
	Data []byte
}

func refused(format string, args ...any) error {
	return fault.New(fault.Failed, "refused: "+format, args...).
		WithHint("the file is damaged or means harm: fetch the package again, or leave it out")
}

func truncated(format string, args ...any) error {
	return fault.New(fault.Failed, "truncated or damaged: "+format, args...).
		WithHint("delete the file and fetch the package again")
}
