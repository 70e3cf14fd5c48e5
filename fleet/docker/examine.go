package docker

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types"

	"github.com/bootandshoot/release/internal/fault"
)

// Report is what an engine on another machine is like.
type Report struct {
	Name    string // of its machine
	Version string
	Root    string        // where images and containers are
	Free    int64         // bytes free there; -1: the engine does not tell, and nobody else could be asked
	Images  int64         // bytes that its images take
	Skew    time.Duration // by how much its clock is ahead of ours, as far as the way there lets see
	OSType  string
}

// Examine looks at an engine: whether it answers, and what it is like. Errors as of Reachable.
func Examine(ctx context.Context, host string, remote *Remote) (Report, error) {
	c, daemon, err := connect(host, remote)
	if err != nil {
		return Report{}, err
	}
	defer c.Close()
	if err := ping(ctx, c, daemon); err != nil {
		return Report{}, err
	}
	began := time.Now()
	info, err := c.Info(ctx)
	if err != nil {
		return Report{}, engineError(err, "ask docker engine at %s", daemon)
	}
	middle := began.Add(time.Since(began) / 2)
	r := Report{Name: info.Name, Version: info.ServerVersion, Root: info.DockerRootDir, Free: -1, OSType: info.OSType}
	if at, err := time.Parse(time.RFC3339Nano, info.SystemTime); err == nil {
		r.Skew = at.Sub(middle)
	}
	usage, err := c.DiskUsage(ctx, types.DiskUsageOptions{Types: []types.DiskUsageObject{types.ImageObject}})
	if err != nil {
		return Report{}, engineError(err, "ask docker engine at %s for its disk", daemon)
	}
	r.Images = usage.LayersSize
	if free, err := freeBySSH(ctx, host, remote, r.Root); err == nil {
		r.Free = free
	}
	return r, nil
}

// freeBySSH asks df on a host that is reached by ssh: engines do not tell.
func freeBySSH(ctx context.Context, host string, remote *Remote, root string) (int64, error) {
	u, err := url.Parse(host)
	if err != nil || u.Scheme != "ssh" {
		return 0, fault.New(fault.Unsupported, "%s is not reached by ssh", host)
	}
	args := append(sshFlags(remote), "-T")
	if u.User != nil {
		args = append(args, "-l", u.User.Username())
	}
	if u.Port() != "" {
		args = append(args, "-p", u.Port())
	}
	args = append(args, "--", u.Hostname(), "df -Pk -- '"+strings.ReplaceAll(root, "'", `'\''`)+"'")
	out, err := exec.CommandContext(ctx, "ssh", args...).Output()
	if err != nil {
		return 0, fmt.Errorf("ask df on %s: %w", host, err)
	}
	return parseFree(out)
}

// parseFree reads what df -Pk says of one file system: a line of headings, then device, size, used, free, … in KiB.
func parseFree(out []byte) (int64, error) {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	f := strings.Fields(string(lines[len(lines)-1]))
	if len(lines) < 2 || len(f) < 6 {
		return 0, fault.New(fault.Failed, "df says %q", out)
	}
	kib, err := strconv.ParseInt(f[3], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read what df says: %w", err)
	}
	return kib << 10, nil
}
