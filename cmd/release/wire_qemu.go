package main

import (
	"context"
	"path/filepath"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/qemu"
)

// machines is the folder of the QEMU driver.
func (a *agent) machines() string { return filepath.Join(a.dir, qemuName) }

func (a *agent) qemuDriver() (fleet.Driver, error) {
	s := a.settings
	return qemu.New(context.Background(), qemu.Options{
		Dir: a.machines(), Installation: a.installation, Images: a.images,
		Ports: a.ports(), Boots: s.Limits.Boots,
		LogBytes: int64(s.Logs.Size) * int64(1+s.Logs.Keep), Tails: a.tails, Log: a.log,
	})
}
