package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Disks appear when their drivers have looked at them; nobody says that all are there.
const (
	patience = 20 * time.Second
	pause    = 5 * time.Millisecond
)

// awaitDevice looks for a block device until one fits.
func awaitDevice(what string, fits func(dev string, uevent string) bool) (string, error) {
	for began := time.Now(); ; time.Sleep(pause) {
		if dev := findDevice(os.DirFS("/"), fits); dev != "" {
			return "/" + dev, nil
		}
		if time.Since(began) > patience {
			return "", fmt.Errorf("no disk with %s within %s: attach the disk that this kernel belongs to", what, patience)
		}
	}
}

// findDevice gives the first device, by name, for which fits says so, as a path below the root of files.
func findDevice(files fs.FS, fits func(dev string, uevent string) bool) string {
	list, err := fs.Glob(files, "sys/class/block/*/uevent")
	if err != nil {
		return ""
	}
	for _, name := range list {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			continue // it went while we looked
		}
		if dev := "dev/" + filepath.Base(filepath.Dir(name)); fits(dev, string(text)) {
			if _, err := fs.Stat(files, dev); err == nil {
				return dev
			}
		}
	}
	return ""
}

// partition finds a partition by its name in the GPT.
func partition(name string) (string, error) {
	return awaitDevice("partition "+name, func(_, uevent string) bool { return partitionName(uevent) == name })
}

func partitionName(uevent string) string {
	for line := range strings.Lines(uevent) {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "PARTNAME="); ok {
			return name
		}
	}
	return ""
}

// labelled finds an ext4 by its label.
func labelled(label string) (string, error) {
	return awaitDevice("a file system labelled "+label, func(dev, _ string) bool { return labelOf("/"+dev) == label })
}

// labelOf is the label of the ext4 on a device, "" without one.
func labelOf(dev string) string {
	f, err := os.Open(dev)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, superblockEnd)
	if _, err := f.ReadAt(head, 0); err != nil {
		return ""
	}
	return extLabel(head)
}

// Where ext4 has what is looked for (the kernel's Documentation/filesystems/ext4/super.rst; the superblock is at 1024).
const (
	extMagic      = 1024 + 0x38
	extName       = 1024 + 0x78
	extNameLength = 16
	superblockEnd = 2048
)

// extLabel is the label of a file system that begins with head; "" when it is none or has none.
func extLabel(head []byte) string {
	if len(head) < superblockEnd || head[extMagic] != 0x53 || head[extMagic+1] != 0xef {
		return ""
	}
	name, _, _ := strings.Cut(string(head[extName:extName+extNameLength]), "\x00")
	return name
}
