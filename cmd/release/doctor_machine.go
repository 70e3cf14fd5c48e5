package main

import (
	"context"
	"os/exec"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/machine"
	"github.com/bootandshoot/release/recipes"
)

// machineChecks look at what machines need. Whether KVM works is tried with a guest, in seconds at most, since its device says
// nothing: only where somebody wants machines.
func (c *cli) machineChecks(ctx context.Context) []api.Check {
	if !c.wantsMachines() {
		if _, err := exec.LookPath(machine.Program); err != nil {
			return []api.Check{ok("qemu", "none here; only machines need it")}
		}
		return []api.Check{ok("qemu", "is here; whether machines run well is looked at in the folder of an app that has any")}
	}
	how, why, err := machine.Accelerate(ctx)
	if err != nil {
		return []api.Check{fails("qemu", err)}
	}
	checks := []api.Check{ok("qemu", "runs machines")}
	if how == machine.KVM {
		checks = append(checks, ok("kvm", "a guest has answered"))
	} else {
		checks = append(checks, warn("kvm", "give the machine KVM, or its user the device: sudo usermod -aG kvm $USER", "machines are emulated, which is many times slower: %s", why))
	}
	if err := machine.HaveFirmware(); err != nil {
		return append(checks, warn("ovmf", "sudo apt-get install ovmf", "%v; only images boot --firmware needs it", err))
	}
	return append(checks, ok("ovmf", "UEFI firmware is here"))
}

// wantsMachines says whether a fleet of the app here, in any environment, is of machines, or a recipe of it says how its machine is.
// Where the files cannot be read, nobody knows that one does.
func (c *cli) wantsMachines() bool {
	app, err := c.app()
	if err != nil {
		return false
	}
	envs, err := config.Environments(app.Path())
	if err != nil {
		return false
	}
	for _, env := range envs {
		of, err := config.Load(app.Path(), env)
		if err == nil && hasMachines(of) {
			return true
		}
	}
	return false
}

func hasMachines(app *config.App) bool {
	for _, role := range app.RoleNames() {
		if app.ForRole(role).Fleet.Driver == qemuName {
			return true
		}
	}
	for _, p := range partsOf(app) {
		path, err := p.path(app)
		if err != nil {
			continue
		}
		if r, err := recipes.Load(path); err == nil && r.Machine != nil {
			return true
		}
	}
	return false
}
