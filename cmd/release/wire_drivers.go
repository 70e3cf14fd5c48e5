package main

import (
	"context"
	"os"
	"sync"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/docker"
	"github.com/bootandshoot/release/fleet/spread"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator"
)

const (
	sandboxName = "sandbox"
	dockerName  = "docker"
	qemuName    = "qemu"
)

// drivers are those of this machine, each made when it is first asked for.
type drivers struct {
	makers   map[string]func() (fleet.Driver, error)
	machines string // folder of the machines
	swarm    string // folder that says that the Swarm may have fleets of ours
	uploads  string // folder of what was uploaded to EC2

	mu   sync.Mutex
	made map[string]fleet.Driver
}

var _ orchestrator.Drivers = (*drivers)(nil)

func (a *agent) drivers() *drivers {
	return &drivers{
		makers: map[string]func() (fleet.Driver, error){sandboxName: a.sandboxDriver, dockerName: a.dockerDriver, qemuName: a.qemuDriver, swarmName: a.swarmDriver, ec2Name: a.ec2Driver,
			config.HostsDriver: a.hostsDriver},
		machines: a.machines(),
		swarm:    a.swarmMark(),
		uploads:  a.account().dir,
		made:     map[string]fleet.Driver{},
	}
}

func (a *agent) dockerDriver() (fleet.Driver, error) {
	return docker.New(context.Background(), a.dockerOptions())
}

func (a *agent) dockerOptions() docker.Options {
	return docker.Options{
		Installation: a.installation,
		Registry:     docker.Registry{Address: a.registry.Address, Token: func() string { return a.registry.Token }},
		Images:       a.images,
		Subnet:       a.settings.DockerSubnet.Prefix,
		PublishFrom:  a.settings.Ports.First,
		Tails:        a.tails,
		Log:          a.log,
	}
}

// hostsDriver spreads nodes over the engines that apps name.
func (a *agent) hostsDriver() (fleet.Driver, error) {
	return spread.New(spread.Options{Log: a.log, Open: func(name, where string) (spread.Member, error) {
		opts := a.dockerOptions()
		opts.Host, opts.Remote, opts.Log = where, remoteOf(a.settings, name), a.log.With("host", name)
		return docker.New(context.Background(), opts)
	}}), nil
}

// remoteOf is how the engine of a host is reached.
func remoteOf(settings *config.Agent, name string) *docker.Remote {
	h := settings.DockerHosts[name]
	return &docker.Remote{Address: h.Address, Certs: h.Certs, Identity: h.Identity, KnownHosts: h.KnownHosts}
}

// Driver makes the driver of that name, or returns the one made.
func (d *drivers) Driver(name string) (fleet.Driver, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if have := d.made[name]; have != nil {
		return have, nil
	}
	newDriver := d.makers[name]
	if newDriver == nil {
		return nil, fault.New(fault.Invalid, "there is no fleet driver %q", name).WithHint("fleet.driver is sandbox, docker, qemu, swarm or ec2")
	}
	made, err := newDriver()
	if err != nil {
		return nil, err
	}
	d.made[name] = made
	return made, nil
}

// Choose is the driver of a new fleet: the one asked for, else docker where an engine answers, else sandbox.
func (d *drivers) Choose(ctx context.Context, name string) (string, error) {
	switch name {
	case dockerName:
		if err := docker.Available(ctx, ""); err != nil {
			return "", err
		}
		return name, nil
	case swarmName:
		return d.chooseSwarm(ctx)
	case ec2Name:
		return d.chooseEC2(ctx)
	case "":
		if dockerPlausible() && docker.Available(ctx, "") == nil {
			return dockerName, nil
		}
		return sandboxName, nil
	}
	_, err := d.Driver(name)
	return name, err
}

// Names lists the drivers that may hold nodes here.
func (d *drivers) Names() []string {
	names := []string{sandboxName, config.HostsDriver}
	if dockerPlausible() {
		names = append(names, dockerName)
	}
	if _, err := os.Stat(d.machines); err == nil { // made with the first machine
		names = append(names, qemuName)
	}
	if _, err := os.Stat(d.swarm); err == nil { // made with the first fleet there
		names = append(names, swarmName)
	}
	if _, err := os.Stat(d.uploads); err == nil { // made with the first fleet there
		names = append(names, ec2Name)
	}
	return names
}

// dockerPlausible says whether it makes sense to ask for an engine.
func dockerPlausible() bool {
	_, err := os.Stat("/var/run/docker.sock")
	return err == nil || os.Getenv("DOCKER_HOST") != ""
}
