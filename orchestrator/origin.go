package orchestrator

// Origin is where an operation was asked for, as the agent saw it itself: By says who asks, this says who it really was.
type Origin struct {
	User string `json:"user"`          // of the process that asked: "ann", or "uid 1234" where the machine knows no name
	PID  int    `json:"pid,omitempty"` // of that process
	Via  string `json:"via"`           // how it came: "unix:/run/user/1000/release/agent.sock"
}
