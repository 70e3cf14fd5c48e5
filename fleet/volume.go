package fleet

import (
	"context"
	"fmt"
	"strings"
)

// VolumeID names a volume: data of one role of an app in an environment, kept apart from nodes. Its text form is
// "app/env/role/name", e.g. "shop/production/web/data".
type VolumeID struct{ App, Env, Role, Name string }

// String is the text form.
func (id VolumeID) String() string { return id.App + "/" + id.Env + "/" + id.Role + "/" + id.Name }

// ParseVolumeID reads the text form.
func ParseVolumeID(s string) (VolumeID, error) {
	p := strings.Split(s, "/")
	if len(p) != 4 {
		return VolumeID{}, fmt.Errorf("parse volume id %q: want app/env/role/name", s)
	}
	return VolumeID{App: p[0], Env: p[1], Role: p[2], Name: p[3]}, nil
}

// MarshalText and UnmarshalText use the text form.
func (id VolumeID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the text form.
func (id *VolumeID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseVolumeID(string(b))
	return err
}

// VolumeMount is a volume in the nodes of a Spec. It is made when the first node needs it, with what the image has at
// that path, owners included, and outlives all nodes.
type VolumeMount struct {
	Volume VolumeID
	Path   string // absolute, in the node
	// OneWriter: at most one node has it at any time. Ensure of another one fails with fault.Busy while a node that has it
	// runs, or may still run.
	OneWriter bool
	// Size is the most that it can hold, in bytes, where the driver bounds that; 0 is the driver's default. One that is there grows, and
	// never shrinks.
	Size int64
}

// Volume is one that a driver keeps.
type Volume struct {
	ID    VolumeID
	Where string   // for people: a folder, or the engine's name of it
	Nodes []string // names of the nodes that have it, ended ones included
}

// VolumeKeeper is implemented by drivers whose nodes may have volumes.
type VolumeKeeper interface {
	// Volumes lists the volumes that carry the driver's installation id, by id.
	Volumes(ctx context.Context) ([]Volume, error)
	// RemoveVolume removes a volume with all that is in it; an absent one is success. fault.Busy while a node has it.
	RemoveVolume(ctx context.Context, id VolumeID) error
}
