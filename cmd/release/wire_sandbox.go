package main

import (
	"path/filepath"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/sandbox"
)

func (a *agent) sandboxDriver() (fleet.Driver, error) {
	s := a.settings
	return sandbox.New(sandbox.Options{
		Dir: filepath.Join(a.dir, "sandbox"), Installation: a.installation, Images: a.images,
		PortBase: s.Ports.First, PortCount: s.Ports.Size(), Subnet: s.Subnet.Prefix,
		Boots: s.Limits.Boots, Pids: int64(s.Limits.Pids),
		LogBytes: int64(s.Logs.Size), LogKeep: s.Logs.Keep, Tails: a.tails, Log: a.log,
	})
}
