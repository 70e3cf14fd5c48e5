package guest

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// devices are the host's device files that a sandbox sees; all are harmless.
var devices = [...]string{"null", "zero", "full", "random", "urandom", "tty"}

var deviceLinks = [...][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
}

// collectDev fills the scaffold's dev folder. Device files are bound from the host: mknod is not for user namespaces.
func (b *rootBuilder) collectDev() error {
	for _, d := range []string{"pts", "shm", "mqueue"} {
		if err := os.Mkdir(b.path("dev", d), 0o755); err != nil {
			return fmt.Errorf("make /dev: %w", err)
		}
	}
	for _, l := range deviceLinks {
		if err := os.Symlink(l[0], b.path("dev", l[1])); err != nil {
			return fmt.Errorf("make /dev: %w", err)
		}
	}
	for _, d := range devices {
		if err := os.WriteFile(b.path("dev", d), nil, 0o644); err != nil {
			return fmt.Errorf("make /dev: %w", err)
		}
	}
	dev, err := cloneTree(b.path("dev"))
	if err != nil {
		return err
	}
	b.later(dev, "/dev", false)
	for _, d := range devices {
		fd, err := cloneTree("/dev/" + d)
		if err != nil {
			return err
		}
		b.later(fd, "/dev/"+d, false)
	}
	return b.collectDevFS()
}

func (b *rootBuilder) collectDevFS() error {
	options := [][2]string{{"ptmxmode", "0666"}, {"mode", "0620"}}
	if AvailableIDs("/proc/self/gid_map") > 5 {
		options = append(options, [2]string{"gid", "5"}) // tty, in every distribution
	}
	pts, err := newFS("devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, options...)
	if err != nil {
		return err
	}
	b.later(pts, "/dev/pts", false)
	shm, err := newFS("tmpfs", attrQuiet, [2]string{"mode", "1777"}, [2]string{"size", "64m"})
	if err != nil {
		return err
	}
	b.later(shm, "/dev/shm", false)
	if queue, err := newFS("mqueue", attrQuiet); err == nil { // not in every kernel
		b.later(queue, "/dev/mqueue", true)
	}
	return nil
}

// collectEtc binds what belongs to the node and not to the image over the image's own.
func (b *rootBuilder) collectEtc() error {
	files := map[string]string{
		"hosts":       "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" + b.spec.Hostname + "\n",
		"hostname":    b.spec.Hostname + "\n",
		"resolv.conf": b.resolvConf(),
	}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		if err := os.WriteFile(b.path("etc", name), []byte(files[name]), 0o644); err != nil {
			return fmt.Errorf("write /etc/%s: %w", name, err)
		}
		fd, err := cloneTree(b.path("etc", name))
		if err != nil {
			return err
		}
		// The image may have a link to nowhere there: then it lives without.
		b.later(fd, "/etc/"+name, true)
	}
	return nil
}

// resolvConf is the host's, without name servers on its loopback where those cannot be reached.
func (b *rootBuilder) resolvConf() string {
	if b.spec.Network == NoNetwork || b.spec.Network == "" {
		return ""
	}
	text, _ := os.ReadFile("/etc/resolv.conf")
	if b.spec.Network == HostNetwork {
		return string(text)
	}
	if kept := reachable(string(text)); strings.Contains(kept, "nameserver") {
		return kept
	}
	// systemd-resolved keeps the real servers beside its own stub.
	text, _ = os.ReadFile("/run/systemd/resolve/resolv.conf")
	return reachable(string(text))
}

func reachable(resolvConf string) string {
	var kept strings.Builder
	for line := range strings.Lines(resolvConf) {
		f := strings.Fields(line)
		if len(f) > 1 && f[0] == "nameserver" && (strings.HasPrefix(f[1], "127.") || f[1] == "::1") {
			continue
		}
		kept.WriteString(line)
	}
	return kept.String()
}

// loopbackUp raises lo in a fresh network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	return nil
}
