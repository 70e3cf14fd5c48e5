package fleet

import "context"

// Placement is where, and as what, the machines of a cloud are launched, for drivers that launch such. What is left out is the driver's
// to choose, or to ask for.
type Placement struct {
	Types   []string // kinds of machines, in order of preference
	Subnets []string // ids of networks; nodes are spread over them
	Groups  []string // ids of security groups; empty: the network's own
	Profile string   // what a node is towards the cloud; "": nobody
	Spot    int      // percent of the nodes that the cloud may take back, from 0 to 100
}

// Grouped is implemented by drivers whose engine shows the nodes of a fleet as a group of its own, to people and their alarms. The
// engine replaces nothing in it: that is the orchestrator's, before anything is shot. Both calls may be repeated, and an error of
// either changes nothing for the node. ErrNoNode when there is no such node in the group.
type Grouped interface {
	// ReportHealth tells the engine what our probes found.
	ReportHealth(ctx context.Context, id NodeID, healthy bool) error
	// Quarantine takes a node out of the group and keeps it running; it is still among Nodes.
	Quarantine(ctx context.Context, id NodeID) error
}
