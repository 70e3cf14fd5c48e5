package guest

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const foreignArch = 0x40000003 // AUDIT_ARCH_I386

// decide runs the filter. The machine of package bpf reads big-endian words, the kernel's reads its own.
func decide(t *testing.T, vm *bpf.VM, arch, number uint32, args ...uint32) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[offNumber:], number)
	binary.BigEndian.PutUint32(data[offArch:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[offArg0+8*i:], a)
	}
	v, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(v)
}

func TestFilterDecides(t *testing.T) {
	vm, err := bpf.NewVM(filterSource())
	if err != nil {
		t.Fatal(err)
	}
	const allow, eperm = uint32(unix.SECCOMP_RET_ALLOW), uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM)
	for _, c := range []struct {
		name   string
		number uint32
		args   []uint32
		want   uint32
	}{
		{"read", unix.SYS_READ, nil, allow},
		{"execve", unix.SYS_EXECVE, nil, allow},
		{"ptrace", unix.SYS_PTRACE, nil, allow},
		{"chroot", unix.SYS_CHROOT, nil, allow},
		{"a call of the future", 900, nil, allow},
		{"mount", unix.SYS_MOUNT, nil, eperm},
		{"io_uring", unix.SYS_IO_URING_SETUP, nil, eperm},
		{"clone3", unix.SYS_CLONE3, nil, uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)},
		{"fork", unix.SYS_CLONE, []uint32{uint32(unix.SIGCHLD)}, allow},
		{"thread", unix.SYS_CLONE, []uint32{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_FS}, allow},
		{"clone into a user namespace", unix.SYS_CLONE, []uint32{unix.CLONE_NEWUSER | uint32(unix.SIGCHLD)}, eperm},
		{"clone into a net namespace", unix.SYS_CLONE, []uint32{unix.CLONE_NEWNET}, eperm},
		{"typing into the terminal", unix.SYS_IOCTL, []uint32{0, unix.TIOCSTI}, eperm},
		{"the console", unix.SYS_IOCTL, []uint32{0, 0x541c}, eperm},
		{"window size", unix.SYS_IOCTL, []uint32{0, unix.TIOCGWINSZ}, allow},
		{"linux personality", unix.SYS_PERSONALITY, []uint32{0}, allow},
		{"asking for it", unix.SYS_PERSONALITY, []uint32{0xffffffff}, allow},
		{"fixed addresses", unix.SYS_PERSONALITY, []uint32{0x0040000}, eperm},
		{"tcp", unix.SYS_SOCKET, []uint32{unix.AF_INET}, allow},
		{"vsock", unix.SYS_SOCKET, []uint32{unix.AF_VSOCK}, eperm},
		{"x32", 0x40000000 | unix.SYS_READ, nil, eperm},
	} {
		if got := decide(t, vm, auditArch, c.number, c.args...); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
	for _, list := range [][]uint32{deniedCalls[:], deniedHere[:]} {
		for _, number := range list {
			if got := decide(t, vm, auditArch, number); got != eperm {
				t.Errorf("call %d: %#x, want EPERM", number, got)
			}
		}
	}
	if got := decide(t, vm, foreignArch, unix.SYS_READ); got != eperm {
		t.Errorf("a call of another architecture: %#x, want EPERM", got)
	}
	if _, err := filterProgram(); err != nil {
		t.Error(err)
	}
}
