package main

import (
	"path/filepath"

	"github.com/bootandshoot/release/fleet"
	localfleet "github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/fleet/sandbox"
)

func (a *agent) sandboxDriver() (fleet.Driver, error) {
	s := a.settings
	return sandbox.New(sandbox.Options{
		Dir: filepath.Join(a.dir, "sandbox"), Installation: a.installation, Images: a.images,
		Ports: a.ports(), Subnet: s.Subnet.Prefix,
		Boots: s.Limits.Boots, Pids: int64(s.Limits.Pids),
		LogBytes: int64(s.Logs.Size), LogKeep: s.Logs.Keep, Tails: a.tails, Log: a.log,
	})
}

// ports are where nodes are reached that share the machine's loopback.
func (a *agent) ports() localfleet.Ports {
	return localfleet.Ports{First: a.settings.Ports.First, Count: a.settings.Ports.Size()}
}
