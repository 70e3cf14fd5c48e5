package orchestrator

import "github.com/bootandshoot/release/fleet"

// What callers of Logs and Exec hand in are the driver contract's own types; by these names they need not know it.
type (
	LogOptions = fleet.LogOptions // which part of a node's output
	ExecSpec   = fleet.ExecSpec   // a command to run in a node, with its streams
	Window     = fleet.Window     // the size of the terminal
)
