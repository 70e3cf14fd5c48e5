package guest

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// keptCapabilities are what Docker gives a container by default (oci/caps/defaults.go). They count only inside of the
// sandbox's user namespace.
const keptCapabilities = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FSETID | 1<<unix.CAP_FOWNER |
	1<<unix.CAP_MKNOD | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETFCAP |
	1<<unix.CAP_SETPCAP | 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_KILL | 1<<unix.CAP_AUDIT_WRITE

// restrictThread gives up, in the calling thread and all that it starts, what a command must not have. The system
// call filter is set for the whole process. The init's other threads keep their capabilities: they serve us, and the
// command, which has fewer, may not trace them.
func restrictThread(fixed bool) error {
	if fixed {
		if err := useOneCPU(); err != nil {
			return err
		}
	}
	for c := uintptr(0); c < 64; c++ {
		if keptCapabilities&(1<<c) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err == unix.EINVAL { // past the last one that this kernel knows
			break
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := limitCapabilities(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return installFilter()
}

func limitCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	kept := uint64(keptCapabilities)
	data := [2]unix.CapUserData{
		{Effective: uint32(kept), Permitted: uint32(kept)},
		{Effective: uint32(kept >> 32), Permitted: uint32(kept >> 32)},
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("limit capabilities: %w", err)
	}
	return nil
}

// useOneCPU leaves the thread one CPU of those that it has, so that every tool counts one. Which one differs, lest all
// bakes of a machine sit on the first.
func useOneCPU() error {
	var have, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &have); err != nil {
		return fmt.Errorf("read CPUs: %w", err)
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return fmt.Errorf("read clock: %w", err)
	}
	pick := int(ts.Nsec/1000) % max(have.Count(), 1)
	for cpu := 0; ; cpu++ {
		if !have.IsSet(cpu) {
			continue
		}
		if pick == 0 {
			one.Set(cpu)
			break
		}
		pick--
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("use one CPU: %w", err)
	}
	return nil
}

// installFilter sets the system call filter for all threads of the init.
func installFilter() error {
	filter, err := filterProgram()
	if err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("install system call filter: %w", errno)
	}
	return nil
}
