// Command boot-init is the only program of a machine's initrd (package builder/disk): it brings the machine from its kernel to
// its own root file system and becomes the first program there. In this order:
//
//  1. /dev, /proc and /sys, and the kernel modules of the initrd.
//  2. The partitions root-<id> and hash-<id> of the command line's root hash, and a dm-verity device over them. A block that is
//     not what it was makes the kernel panic, whenever it is read.
//  3. That device as ext4, read-only, and over it an overlay in memory: what the system writes is gone with the machine.
//  4. The data volumes of the command line, each found by the label of its ext4. One of release.data=LABEL:seed:/PATH grows with its disk, and gets
//     what the image has at its path when it is new.
//  5. The new root becomes /, and the system's first program runs in this one's place.
//
// Where a step fails the console says which and why, and the machine powers off: it is replaced, not repaired.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// searched is what the system's first program gets as PATH.
const searched = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "boot-init: this is the first program of a machine, and of no use elsewhere")
		os.Exit(2)
	}
	err := boot()
	say("this machine does not boot: " + err.Error())
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		say("power off: " + err.Error())
	}
	select {} // PID 1 must not end
}

// boot does not return when all is well.
func boot() error {
	for _, m := range []mount{{"dev", "/dev", "devtmpfs", 0, ""}, {"proc", "/proc", "proc", 0, ""}, {"sys", "/sys", "sysfs", 0, ""}} {
		if err := m.do(); err != nil {
			return err
		}
	}
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	line, err := parseCommandLine(string(text))
	if err != nil {
		return err
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	root, err := openRoot(line)
	if err != nil {
		return err
	}
	if err := layRoot(root, "/root"); err != nil {
		return err
	}
	for _, v := range line.data {
		if err := mountData(v, "/root"); err != nil {
			return err
		}
	}
	return enter("/root", line.init)
}

// loadModules loads all modules of a folder, in the order of their names, and removes them: the initrd is memory.
func loadModules(dir string) error {
	list, err := filepath.Glob(dir + "/*.ko")
	if err != nil {
		return err
	}
	for _, name := range list {
		if strings.HasSuffix(name, amazonCard) && !made("/sys/bus/pci/devices", amazon) {
			continue
		}
		if err := loadModule(name); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

const (
	amazonCard = "-ena.ko" // EC2's network card: an emulated machine needs a tenth of a second for the module
	amazon     = "0x1d0f"  // as a PCI vendor
)

// made says whether one of the PCI devices in a folder is a vendor's.
func made(devices, vendor string) bool {
	list, err := filepath.Glob(devices + "/*/vendor")
	if err != nil {
		return true
	}
	for _, name := range list {
		if text, err := os.ReadFile(name); err != nil || strings.TrimSpace(string(text)) == vendor {
			return true
		}
	}
	return false
}

func loadModule(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("load kernel module %s: %w", filepath.Base(name), err)
	}
	return nil
}

// say writes a line to the kernel's log, which a console shows also when it is quiet.
func say(text string) {
	const critical = "<2>"
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		_, _ = os.Stderr.WriteString("boot-init: " + text + "\n")
		return
	}
	defer f.Close()
	_, _ = f.WriteString(critical + "boot-init: " + text + "\n")
}
