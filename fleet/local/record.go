package local

import (
	"time"

	"github.com/bootandshoot/release/fleet"
)

const recordSchema = 1

// States of a node.
const (
	Booting = "booting"
	Started = "started"
)

// Record is what every driver keeps of a node. It holds no environment: secrets would be in it.
type Record struct {
	Schema       int          `json:"schema"`
	State        string       `json:"state"`
	ID           fleet.NodeID `json:"id"`
	Installation string       `json:"installation"`
	Kind         fleet.Kind   `json:"kind"`
	Image        string       `json:"image"`
	Slot         int          `json:"slot"`
	Address      string       `json:"address"`
	StopSignal   string       `json:"stop_signal"`
	Since        time.Time    `json:"since"`
}

// NewRecord is that of a node that boots.
func NewRecord(installation string, spec fleet.Spec, want fleet.NodeSpec, now time.Time) Record {
	return Record{Schema: recordSchema, State: Booting, ID: fleet.NodeID{Fleet: spec.Fleet, Node: want.Name}, Installation: installation,
		Kind: spec.Kind, Image: spec.Image, Slot: want.Slot, StopSignal: spec.Stop.Signal, Since: now.UTC()}
}

// Common is the part of a record that all drivers have.
func (r Record) Common() Record { return r }

// View is the node as far as its record tells it; whether it still runs is the driver's to say.
func (r Record) View(host string) fleet.Node {
	return fleet.Node{ID: r.ID, Slot: r.Slot, Host: host, Address: r.Address, Image: r.Image, Since: r.Since, Presence: fleet.Gone}
}
