package fleettest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// fakeVolume is what nodes wrote, by path in the node.
type fakeVolume struct {
	installation string
	files        map[string]string
}

// giveVolumes makes the volumes of a node that is about to boot; the lock is held.
func (f *Fake) giveVolumes(spec fleet.Spec) error {
	for _, v := range spec.Volumes {
		for _, name := range f.havers(v.Volume) {
			n := f.nodes[name]
			i := slices.IndexFunc(n.spec.Volumes, func(o fleet.VolumeMount) bool { return o.Volume == v.Volume })
			if n.Presence != fleet.Gone && (v.OneWriter || n.spec.Volumes[i].OneWriter) {
				f.refused = append(f.refused, fmt.Sprintf("%s beside %s, which has %s", spec.Fleet, name, v.Volume))
				return fault.New(fault.Busy, "volume %s: node %s has it, and it is for one at a time", v.Volume, name)
			}
		}
		if f.engine.volumes[v.Volume] == nil {
			f.engine.volumes[v.Volume] = &fakeVolume{installation: f.opts.Installation, files: map[string]string{}}
		}
	}
	return nil
}

// Refused says of all nodes that were to boot with a volume which a running one has, and one of the two for itself.
func (f *Fake) Refused() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.refused)
}

// havers are the names of the nodes that have a volume; the lock is held.
func (f *Fake) havers(id fleet.VolumeID) []string {
	var names []string
	for name, n := range f.nodes {
		if slices.ContainsFunc(n.spec.Volumes, func(v fleet.VolumeMount) bool { return v.Volume == id }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// volumeAt is the volume in which a path of a node lies, or nil; the lock is held.
func (f *Fake) volumeAt(n *fakeNode, path string) *fakeVolume {
	for _, v := range n.spec.Volumes {
		if strings.HasPrefix(path, v.Path+"/") {
			return f.engine.volumes[v.Volume]
		}
	}
	return nil
}

// Volumes implements fleet.VolumeKeeper.
func (f *Fake) Volumes(ctx context.Context) ([]fleet.Volume, error) {
	if err := f.enter(ctx, Call{Method: Volumes}); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []fleet.Volume
	for id, v := range f.engine.volumes {
		if v.installation == f.opts.Installation {
			list = append(list, fleet.Volume{ID: id, Where: "memory", Nodes: f.havers(id)})
		}
	}
	slices.SortFunc(list, func(a, b fleet.Volume) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return list, nil
}

// RemoveVolume implements fleet.VolumeKeeper.
func (f *Fake) RemoveVolume(ctx context.Context, id fleet.VolumeID) error {
	if err := f.enter(ctx, Call{Method: RemoveVolume, Names: []string{id.String()}}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if v := f.engine.volumes[id]; v == nil || v.installation != f.opts.Installation {
		return nil
	}
	if names := f.havers(id); len(names) > 0 {
		return fmt.Errorf("remove volume %s: %w", id, fault.New(fault.Busy, "node %s has it", names[0]))
	}
	delete(f.engine.volumes, id)
	return nil
}
