package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

var hash = strings.Repeat("0123456789abcdef", 4)

func TestCommandLine(t *testing.T) {
	good := commandLine{hash: hash, blocks: 42, init: "/sbin/init"}
	with := func(change func(*commandLine)) commandLine {
		line := good
		change(&line)
		return line
	}
	root := "release.root=" + hash + ":42"
	for text, want := range map[string]commandLine{
		root:                                 good,
		"console=ttyS0 quiet " + root + "\n": good,
		"init=/srv/app " + root:              with(func(l *commandLine) { l.init = "/srv/app" }),
		root + " release.data=a:/srv/a release.data=b:seed:/b/c": with(func(l *commandLine) { l.data = []volume{{"a", "/srv/a", false}, {"b", "/b/c", true}} }),
	} {
		got, err := parseCommandLine(text)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(commandLine{}, volume{})); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", text, err, diff)
		}
	}
	for _, text := range []string{
		"", "release.root=", "release.root=" + hash, "release.root=" + hash + ":0", "release.root=" + hash[1:] + ":1", "release.root=z" + hash[1:] + ":1",
		root + " " + root, root + " init=app", root + " release.data=a", root + " release.data=:/a", root + " release.data=a:/", root + " release.data=a:/b/../c", root + " release.data=a:seed:b",
	} {
		if line, err := parseCommandLine(text); err == nil {
			t.Errorf("%q is taken for %+v", text, line)
		}
	}
}

func FuzzCommandLine(f *testing.F) {
	f.Add("release.root=" + hash + ":42 release.data=a:/srv/a init=/x")
	f.Fuzz(func(t *testing.T, text string) {
		line, err := parseCommandLine(text)
		if err != nil {
			return
		}
		// The kernel splits the table at spaces: nothing of the command line may add a word.
		if n := len(strings.Fields(verityTable("/dev/a", "/dev/b", line))); n != 12 || len(line.id()) != idDigits {
			t.Errorf("%q makes a table of %d words", text, n)
		}
	})
}

func TestDevicesAreFoundByPartition(t *testing.T) {
	files := fstest.MapFS{
		"sys/class/block/vda/uevent":  {Data: []byte("DEVNAME=vda\nDEVTYPE=disk\n")},
		"sys/class/block/vda1/uevent": {Data: []byte("DEVNAME=vda1\nPARTN=1\nPARTNAME=esp\n")},
		"sys/class/block/vda2/uevent": {Data: []byte("DEVNAME=vda2\nPARTN=2\nPARTNAME=root-1\n")},
		"sys/class/block/vda3/uevent": {Data: []byte("DEVNAME=vda3\nPARTN=3\nPARTNAME=not there yet\n")},
		"dev/vda":                     {}, "dev/vda1": {}, "dev/vda2": {},
	}
	for name, want := range map[string]string{"esp": "dev/vda1", "root-1": "dev/vda2", "root": "", "not there yet": ""} {
		if got := findDevice(files, func(_, uevent string) bool { return partitionName(uevent) == name }); got != want {
			t.Errorf("partition %s is %q, want %q", name, got, want)
		}
	}
}

func TestVendorOfDevices(t *testing.T) {
	dir := t.TempDir()
	for i, vendor := range []string{"0x1af4", amazon} {
		if made(dir, vendor) {
			t.Errorf("%s is there before it is", vendor)
		}
		device := filepath.Join(dir, fmt.Sprintf("0000:00:0%d.0", i))
		if err := errors.Join(os.Mkdir(device, 0o755), os.WriteFile(filepath.Join(device, "vendor"), []byte(vendor+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
		if !made(dir, vendor) {
			t.Errorf("%s is not found", vendor)
		}
	}
}

func TestLabelIsThatOfMke2fs(t *testing.T) {
	name := t.TempDir() + "/volume"
	out, err := exec.Command("/sbin/mke2fs", "-q", "-t", "ext4", "-L", "sixteen-bytes-16", name, "1M").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s; apt-get install e2fsprogs", err, out)
	}
	if got := labelOf(name); got != "sixteen-bytes-16" {
		t.Errorf("the label is %q", got)
	}
	if got := extLabel(make([]byte, superblockEnd)) + extLabel(nil); got != "" {
		t.Errorf("nothing has the label %q", got)
	}
}

func TestTargetOfTheDeviceMapper(t *testing.T) {
	b := dmHead("root", dmReadOnly, dmTarget(8, "verity", "1 table"))
	ne := binary.NativeEndian
	if len(b) != dmSize+48 || ne.Uint32(b[12:]) != uint32(len(b)) || ne.Uint32(b[20:]) != 1 || ne.Uint64(b[dmSize+8:]) != 8 || ne.Uint32(b[dmSize+20:]) != 48 {
		t.Errorf("a request of %d bytes: % x", len(b), b)
	}
	if !bytes.HasPrefix(b[dmSize+24:], []byte("verity\x00")) || !bytes.HasPrefix(b[dmSize+40:], []byte("1 table\x00")) {
		t.Errorf("a target % x", b[dmSize:])
	}
	if got := dmRequest(dmCreate); got != 0xc138fd03 { // DM_DEV_CREATE, as strace shows it
		t.Errorf("the number of a request is %#x", got)
	}
}
