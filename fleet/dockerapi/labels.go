package dockerapi

import (
	"fmt"
	"strconv"

	"github.com/docker/docker/api/types/filters"

	"github.com/bootandshoot/release/fleet"
)

// Labels that what all drivers of Docker engines make carries. They are a format: a later version must still read them.
const (
	LabelInstallation = "release.installation"
	LabelFleet        = "release.fleet"
	LabelNode         = "release.node"
	LabelSlot         = "release.slot"
	LabelImage        = "release.image" // manifest digest
	LabelKind         = "release.kind"
	LabelPort         = "release.port" // 0: none
	LabelSpec         = "release.spec"

	// LabelsVersion is that of these labels, the value of LabelSpec.
	LabelsVersion = "1"
)

// NodeLabels are those of a node. A driver adds its own.
func NodeLabels(installation string, spec fleet.Spec, n fleet.NodeSpec) map[string]string {
	return map[string]string{
		LabelInstallation: installation,
		LabelFleet:        spec.Fleet.String(),
		LabelNode:         n.Name,
		LabelSlot:         strconv.Itoa(n.Slot),
		LabelImage:        spec.Image,
		LabelKind:         string(spec.Kind),
		LabelPort:         strconv.Itoa(spec.Port),
		LabelSpec:         LabelsVersion,
	}
}

// NodeOf reads from labels what they say of a node: its id, slot and image.
func NodeOf(labels map[string]string) (fleet.Node, error) {
	id, err := fleet.ParseFleetID(labels[LabelFleet])
	if err != nil {
		return fleet.Node{}, err
	}
	slot, err := strconv.Atoi(labels[LabelSlot])
	if err != nil || labels[LabelNode] == "" {
		return fleet.Node{}, fmt.Errorf("slot %q, node %q", labels[LabelSlot], labels[LabelNode])
	}
	return fleet.Node{ID: fleet.NodeID{Fleet: id, Node: labels[LabelNode]}, Slot: slot, Image: labels[LabelImage]}, nil
}

// Ours selects what carries an installation's label and all of the others that are given as "label=value".
func Ours(installation string, more ...string) filters.Args {
	f := filters.NewArgs(filters.Arg("label", LabelInstallation+"="+installation))
	for _, label := range more {
		f.Add("label", label)
	}
	return f
}
