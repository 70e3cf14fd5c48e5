package guest

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const fixedHostname = "release"

// The lists are those of Docker's default profile (oci/defaults.go, MaskedPaths and ReadonlyPaths). They matter: root
// of a sandbox is root's own id on the host when root started it, and for many files in /proc the id is all that is
// asked.
var (
	maskedProc   = [...]string{"asound", "acpi", "interrupts", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi"}
	readOnlyProc = [...]string{"bus", "fs", "irq", "sys", "sysrq-trigger"}
)

// collectProc makes the proc file system while the host's is still in sight: the kernel gives a new one only to those
// who see one unmasked.
func (b *rootBuilder) collectProc() error {
	fd, err := newFS("proc", attrQuiet)
	if err != nil {
		return err
	}
	b.later(fd, "/proc", false)
	if !b.spec.Fixed {
		return nil
	}
	for _, f := range fixedProc {
		name, text := f[0], f[1]
		if err := os.WriteFile(b.path("proc", name), []byte(text), 0o444); err != nil {
			return fmt.Errorf("write fixed /proc/%s: %w", name, err)
		}
		fd, err := cloneTree(b.path("proc", name))
		if err != nil {
			return err
		}
		b.later(fd, "/proc/"+name, true)
	}
	return nil
}

// protectProc hides what tells too much and closes what changes the machine.
func (b *rootBuilder) protectProc() error {
	if b.spec.Network != HostNetwork {
		// Any user of a network of its own may listen on port 80, as in Docker since 20.10. Old kernels refuse.
		_ = os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
	}
	for _, name := range readOnlyProc {
		path := "/proc/" + name
		fd, err := cloneTree(path)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil {
			err = setReadOnly(fd, path)
		}
		if err == nil {
			err = place(fd, path)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range maskedProc {
		if err := mask("/proc/" + name); err != nil {
			return err
		}
	}
	return nil
}

// mask covers a file with /dev/null and a folder with an empty one.
func mask(path string) error {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil //nolint:nilerr // this kernel has it not
	}
	if !fi.IsDir() {
		fd, err := cloneTree("/dev/null")
		if err != nil {
			return err
		}
		return place(fd, path)
	}
	fd, err := newFS("tmpfs", attrQuiet|unix.MOUNT_ATTR_RDONLY, [2]string{"size", "4k"})
	if err != nil {
		return err
	}
	return place(fd, path)
}

// fixedProc is what a bake sees instead of this machine's figures: one plain CPU, 4 GiB, just started.
var fixedProc = [...][2]string{
	{"cpuinfo", "processor\t: 0\nvendor_id\t: release\nmodel name\t: release\ncpu MHz\t\t: 2000.000\nphysical id\t: 0\n" +
		"siblings\t: 1\ncore id\t\t: 0\ncpu cores\t: 1\nbogomips\t: 4000.00\n\n"},
	{"meminfo", "MemTotal:        4194304 kB\nMemFree:         4194304 kB\nMemAvailable:    4194304 kB\nBuffers:               0 kB\n" +
		"Cached:                0 kB\nSwapCached:            0 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\n"},
	{"stat", "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\nintr 0\nctxt 0\nbtime 0\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n"},
	{"uptime", "60.00 60.00\n"},
	{"loadavg", "0.00 0.00 0.00 1/1 1\n"},
	{"version", "Linux version 5.15.0-release (release) #1 SMP\n"},
	{"cmdline", "release\n"},
	{"partitions", "major minor  #blocks  name\n\n"},
	{"diskstats", ""},
	{"modules", ""},
	{"swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"},
}
