package swarm

import (
	"strings"

	"github.com/docker/docker/api/types/filters"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
)

// Labels beside those of all drivers of Docker engines. They are a format: a later version must still read them.
const (
	labelNetwork = "release.network" // of the node's address; "": its port is published
	// labelStack is Docker's own: services that have it in common are a stack.
	labelStack = "com.docker.stack.namespace"
)

// labels says all that is needed to know a node again.
func (d *Driver) labels(spec fleet.Spec, n fleet.NodeSpec) map[string]string {
	labels := dockerapi.NodeLabels(d.opts.Installation, spec, n)
	labels[labelNetwork], labels[labelStack] = routed(spec.Cluster), strings.ReplaceAll(spec.Fleet.String(), "/", "_")
	return labels
}

// ours selects what carries the installation's label and all of the others that are given as "label=value".
func (d *Driver) ours(more ...string) filters.Args {
	return dockerapi.Ours(d.opts.Installation, more...)
}
