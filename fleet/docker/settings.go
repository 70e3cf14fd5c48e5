package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
)

// settings collects what is set up otherwise than the driver would set it up.
type settings struct{ changes []fleet.Change }

func (s *settings) add(how, name, format string, args ...any) {
	s.changes = append(s.changes, fleet.Change{What: fleet.ChangedSetting, How: how, Path: name, Detail: fmt.Sprintf(format, args...)})
}

func (s *settings) same(name string, have, want any) {
	if have != want {
		s.add(fleet.WasChanged, name, "%v instead of %v", have, want)
	}
}

// changedSettings compares a container with the one that its spec describes. Values of the environment are not shown: they may be
// secret.
func (d *Driver) changedSettings(ctx context.Context, c container.InspectResponse, spec fleet.DriftSpec) ([]fleet.Change, error) {
	b, err := d.bridge(ctx)
	if err != nil {
		return nil, err
	}
	s := &settings{}
	s.image(c, spec.Spec, d.knownImage(spec.Spec.Image))
	if c.HostConfig != nil {
		s.host(c.HostConfig, spec.Spec)
	}
	s.environment(c.Config.Env, spec.Spec)
	s.mounts(c.Mounts, spec.Spec.Volumes)
	if c.NetworkSettings != nil {
		s.networks(c.NetworkSettings, b.name)
	}
	return s.changes, nil
}

func (s *settings) image(c container.InspectResponse, spec fleet.Spec, imageID string) {
	if c.Config.Labels[dockerapi.LabelImage] != spec.Image {
		s.same("image", c.Config.Labels[dockerapi.LabelImage], spec.Image)
	} else if imageID != "" {
		s.same("image", c.Image, imageID)
	}
}

func (s *settings) host(h *container.HostConfig, spec fleet.Spec) {
	want := limits(spec.Resources)
	s.same("memory", h.Memory, want.Memory)
	s.same("cpus", float64(h.NanoCPUs)/1e9, float64(want.NanoCPUs)/1e9)
	if h.PidsLimit != nil {
		s.same("pids", *h.PidsLimit, *want.PidsLimit)
	}
	if p := h.RestartPolicy.Name; p != "" {
		s.same("restart policy", string(p), string(container.RestartPolicyDisabled))
	}
	s.same("privileged", h.Privileged, false)
}

func (s *settings) environment(have []string, spec fleet.Spec) {
	for _, kv := range dockerapi.Environment(fleet.Spec{Env: spec.Env, Port: spec.Port}) {
		name, _, _ := strings.Cut(kv, "=")
		if _, secret := spec.Secrets[name]; !secret && !slices.Contains(have, kv) {
			s.add(fleet.WasChanged, "env "+name, "another value, or none")
		}
	}
	for name := range spec.Secrets {
		if !slices.ContainsFunc(have, func(kv string) bool { return strings.HasPrefix(kv, name+"=") }) {
			s.add(fleet.WasRemoved, "env "+name, "the secret is missing")
		}
	}
}

func (s *settings) mounts(have []container.MountPoint, want []fleet.VolumeMount) {
	for _, m := range have {
		if !slices.ContainsFunc(want, func(v fleet.VolumeMount) bool { return v.Path == m.Destination }) && !anonymous(m) {
			s.add(fleet.WasAdded, "mount "+m.Destination, "from %s", m.Source)
		}
	}
	for _, v := range want {
		if !slices.ContainsFunc(have, func(m container.MountPoint) bool { return v.Path == m.Destination }) {
			s.add(fleet.WasRemoved, "mount "+v.Path, "the volume %s is not mounted there", v.Volume.Name)
		}
	}
}

// anonymous says that a mount is a volume that the image itself asks for (VOLUME): the engine makes it, and removes it with the
// container.
func anonymous(m container.MountPoint) bool {
	return m.Type == mount.TypeVolume && len(m.Name) == 64 && strings.Trim(m.Name, "0123456789abcdef") == ""
}

func (s *settings) networks(have *container.NetworkSettings, want string) {
	for name := range have.Networks {
		if name != want {
			s.add(fleet.WasAdded, "network "+name, "connected")
		}
	}
	if _, ok := have.Networks[want]; !ok {
		s.add(fleet.WasRemoved, "network "+want, "not connected")
	}
}
