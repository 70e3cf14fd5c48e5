package ec2

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/fleet"
)

// memory is what this process knows of instances and lists may lack: a list may be older than the one before it. What was launched or
// listed, and is missing for no longer than a while, is unknown and not gone; what this process has seen terminated is not there again.
type memory struct {
	settles time.Duration
	seen    map[string]seen         // by instance id
	ended   map[string]time.Time    // removed by us: until when a list may still have it
	chosen  map[fleet.NodeID]string // the instance that a node was said to be
}

// seen is a machine as it was known last.
type seen struct {
	machine machine
	till    time.Time // not missed before
}

func newMemory(settles time.Duration) memory {
	return memory{settles: settles, seen: map[string]seen{}, ended: map[string]time.Time{}, chosen: map[fleet.NodeID]string{}}
}

// keep notes machines that AWS says are there.
func (m *memory) keep(now time.Time, all ...machine) {
	for _, one := range all {
		m.seen[one.id] = seen{one, now.Add(m.settles)}
	}
}

// forget notes that instances are terminated.
func (m *memory) forget(now time.Time, instances ...string) {
	for _, id := range instances {
		m.drop(id)
		m.ended[id] = now.Add(m.settles)
	}
}

func (m *memory) drop(instance string) {
	if id := m.seen[instance].machine.node.ID; m.chosen[id] == instance {
		delete(m.chosen, id)
	}
	delete(m.seen, instance)
}

// over says whether an instance is known to be terminated, whatever a list says.
func (m *memory) over(instance string) bool {
	_, ended := m.ended[instance]
	return ended
}

// unlisted are the machines of a fleet, or of all, that a list lacks and that may be there all the same. What has been missing for too
// long is forgotten.
func (m *memory) unlisted(now time.Time, id *fleet.FleetID, listed map[string]bool) (all []machine) {
	for instance, till := range m.ended {
		if now.After(till) {
			delete(m.ended, instance)
		}
	}
	for instance, s := range m.seen {
		switch one := s.machine; {
		case now.After(s.till):
			m.drop(instance)
		case !listed[instance] && (id == nil || one.node.ID.Fleet == *id):
			if one.node.Presence == fleet.Present {
				one.node.Presence = fleet.Unknown
			}
			all = append(all, one)
		}
	}
	return all
}

// instance is the machine that a node was said to be, if it runs as far as is known.
func (m *memory) instance(id fleet.NodeID) (machine, bool) {
	one := m.seen[m.chosen[id]].machine
	return one, one.state == types.InstanceStateNameRunning && !one.removed
}
