package api

import "time"

// Database is what is known of the schema of an app's database: what the migrations declared that ran.
type Database struct {
	Version int            `json:"version"` // after the last phase that succeeded; 0: none did
	Runs    []MigrationRun `json:"runs"`    // the newest first
}

// MigrationRun is one phase of a migration that ran, or runs.
type MigrationRun struct {
	Phase     string     `json:"phase"` // expand, contract
	From      int        `json:"from"`  // version before; 0: not known
	To        int        `json:"to"`
	Release   string     `json:"release"`
	Operation string     `json:"operation"`
	By        string     `json:"by"`
	At        time.Time  `json:"at"`
	Ended     time.Time  `json:"ended,omitzero"`
	Done      int        `json:"done"` // commands that succeeded
	Of        int        `json:"of"`
	Code      int        `json:"code"` // exit code of the last command
	Failure   string     `json:"failure,omitempty"`
	Lines     []NodeTail `json:"lines,omitempty"` // the last that each command printed
}
