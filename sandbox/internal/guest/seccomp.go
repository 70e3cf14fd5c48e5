package guest

import (
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// deniedCalls answer EPERM: what Docker's default profile keeps from a container without extra capabilities
// (profiles/seccomp/default.json of moby), and what has been a way out of sandboxes since. Calls of one
// architecture only are in the files of that name.
var deniedCalls = [...]uint32{
	unix.SYS_ACCT, unix.SYS_ADD_KEY, unix.SYS_ADJTIMEX, unix.SYS_BPF, unix.SYS_CLOCK_ADJTIME, unix.SYS_CLOCK_SETTIME,
	unix.SYS_DELETE_MODULE, unix.SYS_FANOTIFY_INIT, unix.SYS_FINIT_MODULE, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT,
	unix.SYS_FSOPEN, unix.SYS_FSPICK, unix.SYS_INIT_MODULE, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_IO_URING_SETUP, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD, unix.SYS_KEYCTL, unix.SYS_LOOKUP_DCOOKIE,
	unix.SYS_MOUNT, unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT, unix.SYS_NFSSERVCTL, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_OPEN_TREE, unix.SYS_PERF_EVENT_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_PIVOT_ROOT, unix.SYS_QUOTACTL,
	unix.SYS_QUOTACTL_FD, unix.SYS_REBOOT, unix.SYS_REQUEST_KEY, unix.SYS_SETDOMAINNAME, unix.SYS_SETHOSTNAME,
	unix.SYS_SETNS, unix.SYS_SETTIMEOFDAY, unix.SYS_SWAPOFF, unix.SYS_SWAPON, unix.SYS_SYSLOG, unix.SYS_UMOUNT2,
	unix.SYS_UNSHARE, unix.SYS_USERFAULTFD, unix.SYS_VHANGUP,
}

const (
	// Offsets in struct seccomp_data. Both architectures are little-endian: the low half of an argument comes first.
	offNumber = 0
	offArch   = 4
	offArg0   = 16
	offArg1   = 24

	newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
)

func retErrno(e unix.Errno) bpf.Instruction {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)}
}

// onCall runs body, which must end in a return on every path, when the number in the accumulator is that of the call.
func onCall(number uint32, body ...bpf.Instruction) []bpf.Instruction {
	return append([]bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number, SkipTrue: uint8(len(body))}}, body...)
}

// filterSource is the filter before it is assembled.
func filterSource() []bpf.Instruction {
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	deny := retErrno(unix.EPERM)
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		deny, // calls of another architecture have other numbers, so the list would not hold them
		bpf.LoadAbsolute{Off: offNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 0x40000000, SkipTrue: 1},
		deny, // the x32 way to call
	}
	// clone3 hides its flags from the filter; "not implemented" makes the C library use clone.
	p = append(p, onCall(unix.SYS_CLONE3, retErrno(unix.ENOSYS))...)
	p = append(p, onCall(unix.SYS_CLONE,
		bpf.LoadAbsolute{Off: offArg0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: newNamespaces, SkipFalse: 1}, deny, allow)...)
	// Keys typed into the starter's terminal (TIOCSTI), and the console's clipboard (TIOCLINUX).
	p = append(p, onCall(unix.SYS_IOCTL,
		bpf.LoadAbsolute{Off: offArg1, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.TIOCSTI, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x541c, SkipTrue: 1}, allow, deny)...)
	p = append(p, onCall(unix.SYS_PERSONALITY, personalityRule(allow, deny)...)...)
	p = append(p, onCall(unix.SYS_SOCKET,
		bpf.LoadAbsolute{Off: offArg0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_VSOCK, SkipFalse: 1}, deny, allow)...)
	for _, list := range [][]uint32{deniedCalls[:], deniedHere[:]} {
		for _, number := range list {
			p = append(p, onCall(number, deny)...)
		}
	}
	return append(p, allow)
}

// personalityRule allows the values that Docker allows: Linux, 32-bit, with and without an old uname, and asking.
func personalityRule(allow, deny bpf.Instruction) []bpf.Instruction {
	rule := []bpf.Instruction{bpf.LoadAbsolute{Off: offArg0, Size: 4}}
	for _, v := range []uint32{0, 0x8, 0x20000, 0x20008, 0xffffffff} {
		rule = append(rule, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: v, SkipTrue: 1}, allow)
	}
	return append(rule, deny)
}

// filterProgram is the filter as the kernel takes it.
func filterProgram() ([]unix.SockFilter, error) {
	raw, err := bpf.Assemble(filterSource())
	if err != nil {
		return nil, fmt.Errorf("assemble system call filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return filter, nil
}
