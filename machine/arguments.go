package machine

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// Files of a machine's folder.
const (
	recordFile  = "machine.json"
	exitFile    = "exit.json"
	consoleFile = "console.log"
	qemuLog     = "qemu.log"
	commandSock = "command.sock"
	eventSock   = "events.sock"
	varsFile    = "vars.fd"
)

// Where Debian's package ovmf has its files.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

const (
	mebibyte      = 1 << 20
	defaultMemory = 512 * mebibyte
	maxSetting    = 51 // QEMU's names have 55 bytes, of which "opt/" is four
)

// firstInherited is the number of the first descriptor that a process gets besides its three standard ones.
const firstInherited = 3

var portName = regexp.MustCompile(`^[A-Za-z0-9]+([-_.][A-Za-z0-9]+)*$`)

var settingName = regexp.MustCompile(`^[A-Za-z0-9]+([-_./][A-Za-z0-9]+)*$`)

func (s Spec) withDefaults() Spec {
	s.CPUs = max(s.CPUs, 1)
	if s.Memory == 0 {
		s.Memory = defaultMemory
	}
	if s.Accelerator == "" {
		s.Accelerator = Emulation
	}
	if s.Firmware == (Firmware{}) {
		s.Firmware = Firmware{Code: ovmfCode, Vars: ovmfVars}
	}
	return s
}

func (s Spec) check() error {
	refuse := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "run a machine: "+format, args...)
	}
	if !filepath.IsAbs(s.Dir) {
		return refuse("its folder %q is no absolute path", s.Dir)
	}
	if s.Memory < mebibyte || s.Memory%mebibyte != 0 {
		return refuse("%d bytes of memory are not whole MiB", s.Memory)
	}
	if s.Accelerator != KVM && s.Accelerator != Emulation {
		return refuse("its accelerator is %q: want kvm or tcg", s.Accelerator)
	}
	if len(s.Disks) == 0 && s.Kernel == nil {
		return refuse("it has neither a disk nor a kernel")
	}
	if s.Kernel != nil && (!filepath.IsAbs(s.Kernel.Image) || !filepath.IsAbs(s.Kernel.Initrd)) {
		return refuse("its kernel %q and initrd %q are no absolute paths", s.Kernel.Image, s.Kernel.Initrd)
	}
	if s.Kernel != nil && len(s.Kernel.Cmdline) > longestLine {
		return refuse("its kernel's command line has %d bytes, of which the kernel reads %d", len(s.Kernel.Cmdline), longestLine)
	}
	for _, d := range s.Disks {
		if err := d.check(); err != nil {
			return err
		}
	}
	for _, f := range s.Forwards {
		if f.Host < 1 || f.Guest < 1 || f.Host > 65535 || f.Guest > 65535 {
			return refuse("port %d cannot be forwarded to %d", f.Host, f.Guest)
		}
	}
	for _, v := range s.Settings {
		if !settingName.MatchString(v.Name) || len(v.Name) > maxSetting {
			return refuse("a setting has the name %q", v.Name)
		}
	}
	for _, p := range s.Ports {
		if !portName.MatchString(p.Name) || !portName.MatchString(p.File) {
			return refuse("a port has the name %q and the file %q", p.Name, p.File)
		}
	}
	return nil
}

func (d Disk) check() error {
	switch {
	case !filepath.IsAbs(d.Path):
		return fault.New(fault.Invalid, "run a machine: the disk %q is no absolute path", d.Path)
	case d.Format != "" && d.Format != Raw && d.Format != QCOW2:
		return fault.New(fault.Invalid, "run a machine: the disk %s has the format %q: want raw or qcow2", d.Path, d.Format)
	case d.Interface != "" && d.Interface != Virtio && d.Interface != NVMe:
		return fault.New(fault.Invalid, "run a machine: the disk %s has the interface %q: want virtio or nvme", d.Path, d.Interface)
	case d.ReadOnly && d.Interface == NVMe:
		return fault.New(fault.Invalid, "run a machine: the disk %s is read-only, which QEMU's nvme is not", d.Path)
	}
	if _, err := os.Stat(d.Path); err != nil {
		return fault.New(fault.NotFound, "run a machine: %w", err)
	}
	return nil
}

// arguments are QEMU's, for a process that runs in the machine's folder.
func (s Spec) arguments() []string {
	args := append(processor(s.Accelerator), "-nodefaults", "-no-user-config", "-display", "none",
		"-smp", strconv.Itoa(s.CPUs), "-m", strconv.FormatInt(s.Memory/mebibyte, 10),
		"-action", "reboot=shutdown,shutdown=pause,panic=pause",
		"-chardev", "socket,id=command,server=on,wait=off,path="+commandSock, "-mon", "chardev=command,mode=control",
		"-chardev", "socket,id=events,server=on,wait=off,path="+eventSock, "-mon", "chardev=events,mode=control",
		"-chardev", "file,id=console,append=on,path="+consoleFile, "-serial", "chardev:console")
	if s.Kernel != nil {
		args = append(args, "-kernel", s.Kernel.Image, "-initrd", s.Kernel.Initrd, "-append", s.cmdline())
	} else {
		args = append(args, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+escape(s.Firmware.Code),
			"-drive", "if=pflash,unit=1,format=raw,file="+varsFile)
	}
	for i, d := range s.Disks {
		args = append(args, s.disk(i, d)...)
	}
	for i, v := range s.Settings {
		args = append(args, "-fw_cfg", fmt.Sprintf("name=opt/%s,file=/proc/self/fd/%d", v.Name, firstInherited+i))
	}
	args = append(args, s.ports()...)
	return append(args, s.network()...)
}

// emulated are words for the kernel of an emulated machine. It does not panic when its timer is late since this machine is busy, as under KVM and
// other hypervisors, where Linux says so to itself; and it leaves out to test its own cryptography at every boot, which takes half a second.
const emulated = " no_timer_check cryptomgr.notests"

// longestLine is the kernel's COMMAND_LINE_SIZE on amd64, without its end, in bytes.
const longestLine = 2047

// cmdline is the kernel's.
func (s Spec) cmdline() string {
	if line := s.Kernel.Cmdline + emulated; s.Accelerator == Emulation && len(line) <= longestLine {
		return line
	}
	return s.Kernel.Cmdline
}

// disk is a drive and its device. A machine that boots a kernel has no order of booting: QEMU aborts if it is given both.
func (s Spec) disk(i int, d Disk) []string {
	drive := fmt.Sprintf("if=none,id=disk%d,discard=unmap,file=%s,format=%s", i, escape(d.Path), cmp.Or(d.Format, Raw))
	if d.Throwaway {
		drive += ",snapshot=on"
	}
	if d.ReadOnly {
		drive += ",readonly=on"
	}
	device := fmt.Sprintf("virtio-blk-pci,drive=disk%d", i)
	if d.Interface == NVMe {
		device = fmt.Sprintf("nvme,drive=disk%d,serial=disk%d", i, i)
	}
	if i == 0 && s.Kernel == nil {
		device += ",bootindex=0"
	}
	return []string{"-drive", drive, "-device", device}
}

// ports share one device.
func (s Spec) ports() []string {
	if len(s.Ports) == 0 {
		return nil
	}
	args := []string{"-device", "virtio-serial-pci"}
	for i, p := range s.Ports {
		end := fmt.Sprintf("file,id=port%d,append=on,path=%s", i, p.File)
		if p.Socket {
			end = fmt.Sprintf("socket,id=port%d,server=on,wait=off,path=%s", i, p.File)
		}
		args = append(args, "-chardev", end, "-device", fmt.Sprintf("virtserialport,chardev=port%d,name=%s", i, p.Name))
	}
	return args
}

func (s Spec) network() []string {
	user := "user,id=net0"
	for _, f := range s.Forwards {
		user += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", f.Host, f.Guest)
	}
	return []string{"-netdev", user, "-device", "virtio-net-pci,netdev=net0,romfile="} // nobody boots from the network
}

// escape is a path as QEMU's options take it: a comma would end it.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }
