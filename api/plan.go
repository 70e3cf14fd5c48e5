package api

import "encoding/json"

// Plan is what an operation would do. Times are seconds from its beginning, where boots, drains and approvals take none.
type Plan struct {
	App       string            `json:"app"`
	Env       string            `json:"env"`
	Kind      string            `json:"kind"`
	Nothing   bool              `json:"nothing,omitempty"` // what is asked for holds already, or is under way
	Release   string            `json:"release,omitempty"` // that it moves to
	From      string            `json:"from,omitempty"`    // what serves
	Image     string            `json:"image,omitempty"`
	FromImage string            `json:"from_image,omitempty"`
	Images    map[string]string `json:"images,omitempty"` // by role, of an app with roles
	Fleets    []PlannedFleet    `json:"fleets"`
	Changes   []PlannedChange   `json:"changes"` // of the configuration, from what serves; values of variables are not shown
	Steps     []Step            `json:"steps"`
	Gaps      []string          `json:"gaps,omitempty"` // in which nobody does the work of a role
	Schedule  []Moment          `json:"schedule"`
	Nodes     PlannedNodes      `json:"nodes"`
	Holds     float64           `json:"holds"`           // how long it takes at least
	Usual     float64           `json:"usual,omitempty"` // what the last ones of the kind took, in the median
	UsualOf   int               `json:"usual_of"`        // how many there were
	Waits     string            `json:"waits,omitempty"` // what it would wait for that nobody can foresee
	Asks      []string          `json:"asks,omitempty"`  // what abort_on asks while steps are held
	Freeze    *Freeze           `json:"freeze,omitempty"`
	Basis     json.RawMessage   `json:"basis,omitempty"` // what it rests on
}

// PlannedFleet is what becomes of a fleet.
type PlannedFleet struct {
	ID      string       `json:"id"`
	Role    string       `json:"role"`
	Release string       `json:"release"`
	Driver  string       `json:"driver"`
	Image   string       `json:"image"`
	Nodes   int          `json:"nodes"`
	Now     string       `json:"now,omitempty"`  // its state; none: it is launched
	Then    string       `json:"then,omitempty"` // when the operation has ended; none: it is shot
	Shot    *PlannedShot `json:"shot,omitempty"`
}

// PlannedShot is when a fleet is shot: not before its requests have ended, or the time for them is over.
type PlannedShot struct {
	After           float64 `json:"after"`
	Why             string  `json:"why"`
	Drain           float64 `json:"drain"`            // longest time for requests
	LongConnections float64 `json:"long_connections"` // the same for long connections
}

// PlannedChange is a value of the configuration that differs.
type PlannedChange struct {
	Path string `json:"path"`
	From string `json:"from"` // as JSON; "" where there was none
	To   string `json:"to"`   // as JSON; "" where there is none
}

// PlannedNodes is how many nodes there are.
type PlannedNodes struct {
	Now  int `json:"now"`
	Peak int `json:"peak"`
	Then int `json:"then"` // when all that is shot is shot
}

// Moment is a line that the journal would get.
type Moment struct {
	After   float64 `json:"after"`
	Type    string  `json:"type"`
	Release string  `json:"release,omitempty"`
	Percent int     `json:"percent,omitempty"`
	Message string  `json:"message"`
}
