// Package machine runs one QEMU machine: a process of its own, which goes on when whoever started it ends, and can be found
// again by its folder.
//
// # The folder of a machine
//
//	machine.json   {"schema":1,"boot":…,"pid":…,"started":…}: the process, so that its number is never taken for another's
//	exit.json      {"how":…}: how it ended, once somebody asked
//	console.log    what the machine wrote to its first serial line; appended to
//	qemu.log       what QEMU itself said
//	command.sock   QEMU's control socket (QMP) for whoever wants something
//	events.sock    a second one, for whoever waits for the end
//	vars.fd        the firmware's variables; throw-away
//
// Besides, the files and sockets of Spec.Ports. The settings are in no file: QEMU reads them from memory.
//
// # The life of a machine
//
// Start returns when QEMU runs and answers; what the machine does is seen at its console and ports. A machine that powers off,
// or resets for whatever reason, ends: QEMU then stands still until somebody has asked how it ended (Wait), so that this is
// known also to one who came later, and only then goes. A machine is never restarted in place.
//
// # Speed
//
// Accelerate finds out whether the kernel's virtualisation (KVM) can be used: by a guest of a few instructions that must answer
// in time, since a device that is there may be of no use. Otherwise the machine is emulated, in a thread for each of its CPUs.
package machine

import "time"

// Spec is a machine that is to be.
type Spec struct {
	Dir    string // the machine's folder, made if missing; its own, mode 0700
	CPUs   int    // 0 is 1
	Memory int64  // bytes, whole MiB; 0 is 512 MiB

	Accelerator Accelerator // "" is Emulation
	Disks       []Disk      // the first is booted from
	Kernel      *Kernel     // boots without firmware
	Firmware    Firmware    // where Kernel is nil; the zero value is OVMF as Debian installs it
	Forwards    []Forward
	Settings    []Setting
	Ports       []Port
}

// Disk is a disk of the machine.
type Disk struct {
	Path      string // absolute
	Format    Format
	Interface Interface
	Throwaway bool // what is written goes to a temporary file that nobody else sees
	ReadOnly  bool // virtio only
}

// Format is the form of a disk's file.
type Format string

// The formats; "" is Raw.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
)

// Interface is how a disk is attached.
type Interface string

// The interfaces; "" is Virtio.
const (
	Virtio Interface = "virtio"
	NVMe   Interface = "nvme"
)

// Port is a line between the machine and this one: /dev/virtio-ports/<Name> there, with the kernel module virtio_console. Here it is a file of
// the machine's folder to which all is appended that the machine writes, or, when Socket is set, a socket of that name which takes one
// connection at a time.
type Port struct {
	Name   string // such as release.log: letters, digits, and - _ . between them
	File   string // within the machine's folder
	Socket bool
}

// Kernel is booted directly.
type Kernel struct {
	Image, Initrd string // files
	Cmdline       string
}

// Firmware is UEFI for the machine, two files.
type Firmware struct {
	Code string // read-only
	Vars string // a template, which is copied for each machine
}

// Forward takes a TCP port of this machine's loopback to one of the machine's, whose address is 10.0.2.15 in a network of its
// own: gateway 10.0.2.2, name server 10.0.2.3, DHCP.
type Forward struct{ Host, Guest int }

// Setting is a small file that the machine reads at /sys/firmware/qemu_fw_cfg/by_name/opt/<Name>/raw, with the kernel module
// qemu_fw_cfg. It is on no disk, neither of the machine nor of this one, and not on QEMU's command line.
type Setting struct {
	Name string // such as release/env: letters, digits, and - _ . / between them; at most 51 bytes
	Data []byte
}

// Exit is how a machine ended.
type Exit struct {
	How Ending `json:"how"`
}

// Ending is a way to end.
type Ending string

// The ways to end.
const (
	Off    Ending = "off"    // it powered off; one found again may also have reset
	Reset  Ending = "reset"  // it restarted: by itself, or since its kernel panicked
	Killed Ending = "killed" // QEMU went without the machine having ended
)

const (
	startPatience = 60 * time.Second // for QEMU to answer, on a machine that is busy
	probePatience = 5 * time.Second
)
