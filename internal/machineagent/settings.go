package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/instance"
)

const (
	// settingsFile is where the kernel shows what QEMU was given (Documentation/ABI/testing/sysfs-firmware-qemu_fw_cfg).
	settingsFile    = "/sys/firmware/qemu_fw_cfg/by_name/opt/" + instance.SettingName + "/raw"
	environmentFile = "/run/release/environment"
	insteadFile     = "/run/release/command" // is there where a command is run instead of services
	keysFile        = "/root/.ssh/authorized_keys"
)

// vendorFile says who made the machine (SMBIOS, system information).
const vendorFile = "/sys/class/dmi/id/sys_vendor"

// ec2Vendor is what instances of EC2 on Nitro have there. [EC2 user guide: identify EC2 instances]
const ec2Vendor = "Amazon EC2"

// readSettings gives the machine's settings; none is fine. On EC2 they are its user data, for which the network has to be up.
func readSettings(network func() bool) (instance.Settings, error) {
	data, err := os.ReadFile(settingsFile)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = userData(vendorFile, instance.MetadataAddress, network)
	}
	if err != nil {
		return instance.Settings{}, fmt.Errorf("read the machine's settings: %w", err)
	}
	if len(data) == 0 {
		return instance.Settings{}, nil
	}
	return instance.Parse(data)
}

// userData is nothing on machines that are not of EC2: nobody is asked there.
func userData(vendor, address string, network func() bool) ([]byte, error) {
	name, err := os.ReadFile(vendor)
	if err != nil || strings.TrimSpace(string(name)) != ec2Vendor {
		return nil, nil
	}
	network()
	ctx, cancel := context.WithTimeout(context.Background(), networkPatience)
	defer cancel()
	return instance.UserData(ctx, address)
}

// onlySettings is for machines with an init of their own.
func onlySettings() error {
	s, err := readSettings(network) // the init system takes the card over
	if err != nil {
		return err
	}
	if err := apply(s, ""); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(environmentFile), 0o755); err != nil {
		return err
	}
	if len(s.Command) > 0 {
		if err := os.WriteFile(insteadFile, nil, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(environmentFile, []byte(environmentText(s.Environment)), 0o600)
}

// environmentText is an EnvironmentFile of systemd.exec(5): values in double quotes, where newlines stand for themselves.
func environmentText(env map[string]string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", "$", `\$`)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "%s=\"%s\"\n", name, escape.Replace(env[name]))
	}
	return b.String()
}

func hostnameOf(s instance.Settings, image string) string { return cmp.Or(s.Hostname, image) }

// apply does what settings say, but for the environment. hostname is the image's own.
func apply(s instance.Settings, hostname string) error {
	if name := hostnameOf(s, hostname); name != "" {
		if err := unix.Sethostname([]byte(name)); err != nil {
			return fmt.Errorf("set the host name %s: %w", name, err)
		}
		if err := writeHosts(name); err != nil {
			return err
		}
	}
	files := s.Files
	if len(s.AccessKeys) > 0 {
		files = append(slices.Clone(files), instance.File{Path: keysFile, Data: []byte(strings.Join(s.AccessKeys, "\n") + "\n")})
	}
	for _, f := range files {
		if err := writeFile(f); err != nil {
			return fmt.Errorf("write the setting %s: %w", f.Path, err)
		}
	}
	return nil
}

// writeHosts names the machine for itself. An image's own file keeps its lines.
func writeHosts(name string) error {
	old, err := os.ReadFile("/etc/hosts")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(old) == 0 {
		old = []byte("127.0.0.1 localhost\n::1 localhost\n")
	}
	if err := os.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	return os.WriteFile("/etc/hosts", append(old, []byte("127.0.1.1 "+name+"\n")...), 0o644)
}

func writeFile(f instance.File) error {
	uid, gid, err := owner(f.Owner)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	temp := f.Path + ".new"
	if err := os.WriteFile(temp, f.Data, 0o600); err != nil {
		return err
	}
	if err := os.Chown(temp, uid, gid); err != nil {
		return err
	}
	if err := unix.Chmod(temp, cmp.Or(f.Mode, 0o600)); err != nil {
		return err
	}
	return os.Rename(temp, f.Path)
}

// owner reads user, user:group or numbers. A user alone brings its own group.
func owner(text string) (uid, gid int, err error) {
	name, group, hasGroup := strings.Cut(text, ":")
	if name != "" {
		if uid, err = strconv.Atoi(name); err != nil {
			if uid, err = idOf("/etc/passwd", name, 2); err != nil {
				return 0, 0, err
			}
			if gid, err = idOf("/etc/passwd", name, 3); err != nil {
				return 0, 0, err
			}
		}
	}
	if !hasGroup {
		return uid, gid, nil
	}
	if gid, err = strconv.Atoi(group); err != nil {
		gid, err = idOf("/etc/group", group, 2)
	}
	return uid, gid, err
}

// idOf is a number in the line of a name (passwd(5), group(5)).
func idOf(file, name string, field int) (int, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); f[0] == name && len(f) > field {
			return strconv.Atoi(f[field])
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, name)
}

// overlay lays variables over others.
func overlay(under []string, over map[string]string) []string {
	var list []string
	for _, kv := range under {
		name, _, _ := strings.Cut(kv, "=")
		if _, ok := over[name]; !ok {
			list = append(list, kv)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(over)) {
		list = append(list, name+"="+over[name])
	}
	return list
}
