package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/fault"
)

// volumeName is the engine's name of a volume. No part of an id has a dot.
func (d *Driver) volumeName(id fleet.VolumeID) string {
	return "release-" + d.opts.Installation + "." + strings.Join([]string{id.App, id.Env, id.Role, id.Name}, ".")
}

// mounts are a node's volumes as the engine takes them. The engine fills one that is empty with what the image has there.
func (d *Driver) mounts(spec fleet.Spec) []mount.Mount {
	var list []mount.Mount
	for _, v := range spec.Volumes {
		list = append(list, mount.Mount{Type: mount.TypeVolume, Source: d.volumeName(v.Volume), Target: v.Path})
	}
	return list
}

// alone are the names of volumes that a node must be the only one to have.
func (d *Driver) alone(spec fleet.Spec) []string {
	var names []string
	for _, v := range spec.Volumes {
		if v.OneWriter {
			names = append(names, d.volumeName(v.Volume))
		}
	}
	return names
}

// giveVolumes makes the volumes of a node that is about to start. The caller holds the lock on volumes until it has started, so
// that no two nodes find one free.
func (d *Driver) giveVolumes(ctx context.Context, spec fleet.Spec, node string) error {
	for _, v := range spec.Volumes {
		if err := d.mayHave(ctx, v, node); err != nil {
			return err
		}
		name := d.volumeName(v.Volume)
		made, err := d.engine.VolumeCreate(ctx, volume.CreateOptions{Name: name,
			Labels: map[string]string{dockerapi.LabelInstallation: d.opts.Installation, labelVolume: v.Volume.String()}})
		if err != nil {
			return engineError(err, "make volume %s", v.Volume)
		}
		if made.Labels[dockerapi.LabelInstallation] != d.opts.Installation {
			return fault.New(fault.Exists, "make volume %s: the engine has another one named %s", v.Volume, name).WithHint("see whose it is: docker volume inspect %s", name)
		}
	}
	return nil
}

// mayHave refuses a volume that a running container has, if one of the two wants to be its only writer.
func (d *Driver) mayHave(ctx context.Context, v fleet.VolumeMount, node string) error {
	name := d.volumeName(v.Volume)
	f := filters.NewArgs(filters.Arg("volume", name))
	list, err := d.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: f})
	if err != nil {
		return engineError(err, "find who has volume %s", v.Volume)
	}
	for _, c := range list {
		ended := c.State == container.StateExited || c.State == container.StateDead || c.State == container.StateCreated
		both := !v.OneWriter && !slices.Contains(strings.Fields(c.Labels[labelAlone]), name)
		if ended || both || c.Labels[dockerapi.LabelNode] == node {
			continue
		}
		return fault.New(fault.Busy, "volume %s: %s has it, and it is for one at a time", v.Volume, strings.TrimPrefix(strings.Join(c.Names, " "), "/")).
			WithHint("release status shows what a node does; docker ps --all --filter volume=%s, who else has it", name)
	}
	return nil
}

// Volumes implements fleet.VolumeKeeper.
func (d *Driver) Volumes(ctx context.Context) ([]fleet.Volume, error) {
	containers, err := d.list(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	found, err := d.engine.VolumeList(ctx, volume.ListOptions{Filters: d.ours(nil)})
	if err != nil {
		return nil, engineError(err, "list volumes")
	}
	var list []fleet.Volume
	for _, at := range found.Volumes {
		id, err := fleet.ParseVolumeID(at.Labels[labelVolume])
		if err != nil {
			d.log.WarnContext(ctx, "volume carries our installation's label but no name", "volume", at.Name, "error", err)
			continue
		}
		v := fleet.Volume{ID: id, Where: "volume " + at.Name}
		for _, c := range containers {
			if slices.ContainsFunc(c.Mounts, func(m container.MountPoint) bool { return m.Name == at.Name }) {
				v.Nodes = append(v.Nodes, c.Labels[dockerapi.LabelNode])
			}
		}
		slices.Sort(v.Nodes)
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b fleet.Volume) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return list, nil
}

// RemoveVolume implements fleet.VolumeKeeper.
func (d *Driver) RemoveVolume(ctx context.Context, id fleet.VolumeID) error {
	if err := d.greet(ctx); err != nil {
		return err
	}
	name := d.volumeName(id)
	found, err := d.engine.VolumeInspect(ctx, name)
	switch {
	case errdefs.IsNotFound(err) || err == nil && found.Labels[dockerapi.LabelInstallation] != d.opts.Installation:
		return nil
	case err != nil:
		return engineError(err, "remove volume %s", id)
	}
	err = d.engine.VolumeRemove(ctx, name, false)
	if errdefs.IsConflict(err) {
		return fault.New(fault.Busy, "remove volume %s: %w", id, err).WithHint("see who has it: docker ps --all --filter volume=%s", name)
	}
	if errdefs.IsNotFound(err) {
		return nil
	}
	return engineError(err, "remove volume %s", id)
}
