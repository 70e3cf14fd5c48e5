package sandbox

import (
	"context"

	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/sandbox"
)

// network is how nodes are reached.
type network interface {
	mode() sandbox.Network
	// place derives from a node's slot the port that its app listens on and the address at which that is reached; 0
	// and "" when the image declares no port. It fails when the slot has no place, or another program holds it.
	place(slot, declared int) (port int, address string, err error)
	// inward is the machine's address for nodes.
	inward() string
	// open brings up what all nodes share. It may be repeated.
	open(ctx context.Context) error
	// attach connects the sandbox whose init is pid, before its command starts.
	attach(pid, slot int) error
	// detach gives back what the node of a slot had.
	detach(slot int)
	// fold takes down what all nodes share if unused says so.
	fold(unused func() (bool, error)) error
}

// sharedNetwork is the machine's own, with a port a node.
type sharedNetwork struct{ ports local.Ports }

func (n *sharedNetwork) mode() sandbox.Network { return sandbox.HostNetwork }

func (n *sharedNetwork) place(slot, declared int) (int, string, error) {
	return n.ports.Place(slot, declared)
}

func (n *sharedNetwork) inward() string                  { return "127.0.0.1" }
func (n *sharedNetwork) open(context.Context) error      { return nil }
func (n *sharedNetwork) attach(int, int) error           { return nil }
func (n *sharedNetwork) detach(int)                      {}
func (n *sharedNetwork) fold(func() (bool, error)) error { return nil }
