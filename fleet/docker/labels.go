package docker

import (
	"github.com/docker/docker/api/types/filters"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
)

// Labels beside those of all drivers of Docker engines. They are a format: a later version must still read them.
const (
	labelAddress = "release.address" // "ip:port" as in fleet.Node; "": none
	labelGrace   = "release.stop-grace"
	labelVolume  = "release.volume" // of a volume: its id
	labelAlone   = "release.alone"  // of a container: the engine's names of volumes that it is the only one to have
)

// nodeLabels says all that is needed to know a node again from its container alone.
func nodeLabels(installation, address string, spec fleet.Spec, n fleet.NodeSpec) map[string]string {
	labels := dockerapi.NodeLabels(installation, spec, n)
	labels[labelAddress], labels[labelGrace] = address, spec.Stop.Grace.String()
	return labels
}

// ours selects what carries the installation's label, and with a fleet only what is of that fleet.
func (d *Driver) ours(id *fleet.FleetID) filters.Args {
	if id == nil {
		return dockerapi.Ours(d.opts.Installation)
	}
	return dockerapi.Ours(d.opts.Installation, dockerapi.LabelFleet+"="+id.String())
}

// isNode reports whether labels are those of the node; a container of another installation may have its name.
func (d *Driver) isNode(labels map[string]string, id fleet.NodeID) bool {
	return labels[dockerapi.LabelInstallation] == d.opts.Installation && labels[dockerapi.LabelNode] == id.Node
}
