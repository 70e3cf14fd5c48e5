package docker

import (
	"strconv"

	"github.com/docker/docker/api/types/filters"

	"github.com/bootandshoot/release/fleet"
)

// Labels of what the driver makes. They are a format: a later version must still read them.
const (
	labelInstallation = "release.installation"
	labelFleet        = "release.fleet"
	labelNode         = "release.node"
	labelSlot         = "release.slot"
	labelImage        = "release.image" // manifest digest
	labelKind         = "release.kind"
	labelPort         = "release.port"    // 0: none
	labelAddress      = "release.address" // "ip:port" as in fleet.Node; "": none
	labelGrace        = "release.stop-grace"
	labelSpec         = "release.spec"
	labelVolume       = "release.volume" // of a volume: its id
	labelAlone        = "release.alone"  // of a container: the engine's names of volumes that it is the only one to have

	labelsVersion = "1"
)

// nodeLabels says all that is needed to know a node again from its container alone.
func nodeLabels(installation, address string, spec fleet.Spec, n fleet.NodeSpec) map[string]string {
	return map[string]string{
		labelInstallation: installation,
		labelFleet:        spec.Fleet.String(),
		labelNode:         n.Name,
		labelSlot:         strconv.Itoa(n.Slot),
		labelImage:        spec.Image,
		labelKind:         string(spec.Kind),
		labelPort:         strconv.Itoa(spec.Port),
		labelAddress:      address,
		labelGrace:        spec.Stop.Grace.String(),
		labelSpec:         labelsVersion,
	}
}

// ours selects what carries the installation's label, and with a fleet only what is of that fleet.
func (d *Driver) ours(id *fleet.FleetID) filters.Args {
	f := filters.NewArgs(filters.Arg("label", labelInstallation+"="+d.opts.Installation))
	if id != nil {
		f.Add("label", labelFleet+"="+id.String())
	}
	return f
}

// isNode reports whether labels are those of the node; a container of another installation may have its name.
func (d *Driver) isNode(labels map[string]string, id fleet.NodeID) bool {
	return labels[labelInstallation] == d.opts.Installation && labels[labelNode] == id.Node
}
