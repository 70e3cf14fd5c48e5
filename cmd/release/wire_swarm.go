package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/swarm"
	"github.com/bootandshoot/release/internal/fault"
)

// swarmName is the driver of a Docker Swarm.
const swarmName = config.DriverSwarm

// swarmMark is the folder whose being there says that the Swarm may have fleets of ours.
func (a *agent) swarmMark() string { return filepath.Join(a.dir, swarmName) }

func (a *agent) swarmDriver() (fleet.Driver, error) {
	o := swarmOptions(a.settings)
	o.Installation, o.Images, o.Tails, o.Log = a.installation, a.images, a.tails, a.log
	o.Endpoint = swarm.Endpoint{Address: a.registry.Address, Token: func() string { return a.registry.Token }}
	d, err := swarm.New(o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(a.swarmMark(), 0o700); err != nil {
		return nil, fmt.Errorf("make swarm driver: %w", err)
	}
	return d, nil
}

// swarmOptions are those that agent.yaml says.
func swarmOptions(s *config.Agent) swarm.Options {
	return swarm.Options{Managers: s.Swarm.Managers, Engines: s.Swarm.Engines, Repository: s.Swarm.Repository, PlainHTTP: s.Swarm.PlainHTTP, PublishFrom: s.Ports.First,
		Lost: s.Swarm.LostAfter.Std()}
}

// chooseSwarm is the driver, when a manager answers.
func (d *drivers) chooseSwarm(ctx context.Context) (string, error) {
	driver, err := d.Driver(swarmName)
	if err != nil {
		return "", err
	}
	return swarmName, driver.(*swarm.Driver).Available(ctx)
}

// swarmChecks look whether a manager answers and hosts can pull, where a Swarm is used.
func swarmChecks(ctx context.Context, stateDir string, settings *config.Agent) []api.Check {
	_, err := os.Stat(filepath.Join(stateDir, swarmName))
	if used := err == nil || settings.Swarm.Repository != "" || len(settings.Swarm.Managers) > 0; !used {
		return nil
	}
	state, err := swarm.Examine(ctx, swarmOptions(settings))
	if err != nil {
		return []api.Check{fails("swarm", err)}
	}
	check := ok("swarm", "%s", state.Summary())
	if state.Managers > 1 && len(settings.Swarm.Managers) == 1 {
		check = warn("swarm", "name the other managers too: swarm.managers in agent.yaml", "%s; the agent knows one of its %d managers only", state.Summary(), state.Managers)
	}
	if state.Managers == 2 {
		check = warn("swarm", "docker node promote makes a third", "%s; of two managers neither may fail", state.Summary())
	}
	checks := []api.Check{check}
	if state.Forgetful {
		checks = append(checks, warn("swarm jobs", swarm.HintHistory, "the Swarm keeps no task that has ended: jobs are refused, and of nodes that end nobody knows why"))
	}
	switch {
	case settings.Swarm.Repository == "" && state.Hosts > 1:
		checks = append(checks, fails("swarm images", fault.New(fault.Invalid, "%d hosts cannot pull from the agent's own endpoint on loopback", state.Hosts).
			WithHint("swarm: {repository: registry.example/releases} in agent.yaml")))
	case settings.Swarm.Repository == "":
		checks = append(checks, ok("swarm images", "its one host pulls from the agent"))
	case state.Registry != nil:
		checks = append(checks, fails("swarm images", state.Registry))
	default:
		checks = append(checks, ok("swarm images", "%s answers", settings.Swarm.Repository))
	}
	return checks
}
