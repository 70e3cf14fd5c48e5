package config

import "github.com/bootandshoot/release/internal/strictyaml"

// Agent is an agent.yaml: what belongs to the machine and not to an app. Everything has a default.
type Agent struct {
	Images       string      `yaml:"images,omitempty" json:"images,omitempty" doc:"Folder of the image store. Default: RELEASE_IMAGES_DIR, else the user's own."`
	Ports        PortRange   `yaml:"ports" json:"ports" doc:"Ports that nodes on the machine's own network get, first-last; keep it below the kernel's ephemeral range." default:"20000-29999"`
	Subnet       Subnet      `yaml:"subnet" json:"subnet" doc:"IPv4 network of the bridge of sandbox nodes, from /16 to /28." default:"10.213.0.0/16"`
	DockerSubnet Subnet      `yaml:"docker_subnet" json:"docker_subnet" doc:"IPv4 network of the bridge of docker nodes, from /16 to /28." default:"10.214.0.0/16"`
	Router       AgentRouter `yaml:"router" json:"router" doc:"The router process."`
	Logs         AgentLogs   `yaml:"logs" json:"logs" doc:"Output of nodes that is kept on disk."`
	Limits       AgentLimits `yaml:"limits" json:"limits" doc:"Bounds of what the agent does at once."`

	root *strictyaml.Node
}

// At is the place of the value at a path of keys, or of the nearest value above it that the file has.
func (a *Agent) At(path ...any) Position { return a.root.Locate(path...) }

// AgentRouter configures the router process.
type AgentRouter struct {
	Metrics   string `yaml:"metrics,omitempty" json:"metrics,omitempty" doc:"Address of the router's Prometheus metrics, host:port. Default: none."`
	AccessLog string `yaml:"access_log,omitempty" json:"access_log,omitempty" doc:"File of the access log, JSON lines; relative to this file. Default: none."`
}

// AgentLogs bounds the output that is kept of each sandbox node.
type AgentLogs struct {
	Size Bytes `yaml:"size" json:"size" doc:"A node's log file is turned over at this size." default:"10MiB"`
	Keep int   `yaml:"keep" json:"keep" doc:"Turned-over files that are kept of each node." default:"2" minimum:"1" maximum:"100"`
}

// AgentLimits bounds work and nodes.
type AgentLimits struct {
	Boots int `yaml:"boots" json:"boots" doc:"Nodes that are booted at the same time." default:"16" minimum:"1" maximum:"1000"`
	Pids  int `yaml:"pids" json:"pids" doc:"Processes and threads that one sandbox node may have." default:"4096" minimum:"16" maximum:"4194304"`
}
