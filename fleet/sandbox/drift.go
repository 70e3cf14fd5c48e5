package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/sandbox"
)

// Drift implements fleet.Drifter: the upper folder has every file that differs, /proc the programs that run.
func (d *Driver) Drift(ctx context.Context, id fleet.NodeID, spec fleet.DriftSpec) (fleet.Drift, error) {
	drift, err := d.drift(ctx, id, spec)
	if errors.Is(err, sandbox.ErrGone) {
		err = fmt.Errorf("the node has ended: %w", fleet.ErrNoNode)
	}
	if err != nil {
		return fleet.Drift{}, fmt.Errorf("compare %s with its image: %w", id.Node, err)
	}
	return drift, nil
}

func (d *Driver) drift(ctx context.Context, id fleet.NodeID, spec fleet.DriftSpec) (fleet.Drift, error) {
	r, ok, err := d.nodes.Ours(id)
	if err == nil && !ok {
		err = fleet.ErrNoNode
	}
	if err != nil {
		return fleet.Drift{}, err
	}
	if _, err := sandbox.ReadExit(d.nodes.Dir(id.Node)); err == nil {
		return fleet.Drift{}, sandbox.ErrGone // its init may live on for a moment
	}
	l, err := d.liveOf(r)
	if err != nil {
		return fleet.Drift{}, err
	}
	root, err := d.opts.Images.Rootfs(ctx, images.Digest(r.Image))
	if err != nil {
		return fleet.Drift{}, err
	}
	lower, err := os.OpenRoot(root)
	if err != nil {
		return fleet.Drift{}, err
	}
	defer lower.Close()
	files, err := changedFiles(ctx, d.inNode(r, "upper"), root, spec)
	if err != nil {
		return fleet.Drift{}, err
	}
	programs, err := d.strangePrograms(r, l, lower, spec)
	if err != nil {
		return fleet.Drift{}, err
	}
	settings, err := changedSettings(r, l, spec)
	if err != nil {
		return fleet.Drift{}, err
	}
	return spec.Found(append(append(programs, settings...), files...)), nil
}

// strangePrograms finds what runs from a file that is not the image's: one that was put there or changed, that is gone, or that
// lies where something else is mounted, such as /tmp.
func (d *Driver) strangePrograms(r record, l *live, lower *os.Root, spec fleet.DriftSpec) ([]fleet.Change, error) {
	running, err := l.process.Processes()
	if err != nil {
		return nil, err
	}
	seen := map[string]int{}
	var changes []fleet.Change
	for _, p := range running {
		if spec.ProcessAllowed(p.Program) {
			continue
		}
		how, detail := d.stranger(r, p, lower, spec)
		if how == "" {
			continue
		}
		if i, again := seen[p.Program]; again {
			changes[i].Detail += fmt.Sprintf(", %d", p.PID)
			continue
		}
		seen[p.Program] = len(changes)
		changes = append(changes, fleet.Change{What: fleet.ChangedProcess, How: how, Path: p.Program, Detail: fmt.Sprintf("%s; pid %d", detail, p.PID)})
	}
	return changes, nil
}

// stranger says how a process's program differs from what the image has there; "" when it does not.
func (d *Driver) stranger(r record, p sandbox.Running, lower *os.Root, spec fleet.DriftSpec) (how, detail string) {
	rel := strings.TrimPrefix(p.Program, "/")
	in, err := lower.Lstat(rel)
	switch {
	case p.Gone:
		return fleet.WasRemoved, "its file is gone"
	case underVolume(spec, p.Program):
		return fleet.WasAdded, "it lies in a volume"
	case err != nil || !in.Mode().IsRegular():
		return fleet.WasAdded, "the image has no such program"
	}
	if otherContent(d.inNode(r, "upper"), lower.Name(), rel) {
		return fleet.WasChanged, "the image has another one"
	}
	return "", ""
}

func underVolume(spec fleet.DriftSpec, path string) bool {
	for _, v := range spec.Spec.Volumes {
		if strings.HasPrefix(path, strings.TrimSuffix(v.Path, "/")+"/") {
			return true
		}
	}
	return false
}

// ownMounts are where a sandbox has mounts by itself, and below.
var ownMounts = [...]string{"/proc", "/dev", "/sys", "/tmp", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}

// changedSettings compares what a node is made of with what it should be: its image, limits and mounts.
func changedSettings(r record, l *live, spec fleet.DriftSpec) ([]fleet.Change, error) {
	var changes []fleet.Change
	add := func(how, name, format string, args ...any) {
		changes = append(changes, fleet.Change{What: fleet.ChangedSetting, How: how, Path: name, Detail: fmt.Sprintf(format, args...)})
	}
	if r.Image != spec.Spec.Image {
		add(fleet.WasChanged, "image", "%s instead of %s", r.Image, spec.Spec.Image)
	}
	limits := sandbox.Limits{CPUs: spec.Spec.Resources.CPUs, Memory: spec.Spec.Resources.Memory}
	for _, c := range sandbox.ChangedLimits(r.Cgroup, limits) {
		add(fleet.WasChanged, c.Name, "%s instead of %s", c.Have, c.Want)
	}
	points, err := l.process.MountPoints()
	if err != nil {
		return nil, err
	}
	missing := map[string]bool{}
	for _, v := range spec.Spec.Volumes {
		missing[v.Path] = true
	}
	for _, at := range points {
		if _, volume := missing[at]; volume {
			missing[at] = false
		} else if at != "/" && !ownMount(at) {
			add(fleet.WasAdded, "mount "+at, "something is mounted there")
		}
	}
	for _, v := range spec.Spec.Volumes {
		if missing[v.Path] {
			add(fleet.WasRemoved, "mount "+v.Path, "the volume %s is not mounted there", v.Volume.Name)
		}
	}
	return changes, nil
}

func ownMount(at string) bool {
	for _, own := range ownMounts {
		if at == own || strings.HasPrefix(at, own+"/") {
			return true
		}
	}
	return false
}
