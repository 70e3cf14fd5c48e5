package orchestrator

import "github.com/bootandshoot/release/fleet"

// What callers of Logs, Exec and Drift hand in or get are the driver contract's own types; by these names they need not know it.
type (
	Drifted    = fleet.Drift      // how a node differs from its image
	Change     = fleet.Change     // one difference
	LogOptions = fleet.LogOptions // which part of a node's output
	ExecSpec   = fleet.ExecSpec   // a command to run in a node, with its streams
	Window     = fleet.Window     // the size of the terminal
	Tail       = fleet.Tail       // what is kept of a node that was removed
)
