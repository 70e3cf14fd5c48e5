package orchestrator

import (
	"encoding/json"
	"time"

	"github.com/bootandshoot/release/config"
)

// Origin is where an operation was asked for, as the agent saw it itself: By says who asks, this says who it really was.
type Origin struct {
	User string `json:"user"`          // of the process that asked: "ann", or "uid 1234" where the machine knows no name
	PID  int    `json:"pid,omitempty"` // of that process
	Via  string `json:"via"`           // how it came: "unix:/run/user/1000/release/agent.sock"
}

// Arguments are what an operation was asked with. The configuration stands in the release; here is its digest.
type Arguments struct {
	Image      string   `json:"image,omitempty"`
	Release    string   `json:"release,omitempty"`
	Percent    int      `json:"percent,omitempty"`
	Size       int      `json:"size,omitempty"`
	Role       string   `json:"role,omitempty"`
	Nodes      []string `json:"nodes,omitempty"`
	Force      bool     `json:"force,omitempty"`
	KeepFailed bool     `json:"keep_failed,omitempty"`
	Config     string   `json:"config,omitempty"` // digest of the configuration that was given

	For time.Duration `json:"for,omitempty"` // quarantine
	End bool          `json:"end,omitempty"` // quarantine: of one

	Volumes bool `json:"volumes,omitempty"` // destroy
}

// arguments are the request's, for its record.
func (req *Request) arguments() *Arguments {
	a := &Arguments{
		Image: req.Image, Release: req.Release, Percent: req.Percent, Size: req.Size, Role: req.Role, Nodes: req.Nodes, Force: req.Force,
		KeepFailed: req.KeepFailed, For: req.For, End: req.End, Volumes: req.Volumes,
	}
	if req.Config != nil {
		a.Config = configDigest(req.Config)
	}
	return a
}

// configDigest names a configuration: "sha256:" and the SHA-256 of its JSON, the same for equal configurations.
func configDigest(cfg *config.App) string {
	b, err := json.Marshal(cfg)
	if err != nil {
		return ""
	}
	return "sha256:" + digestOf(b)
}
