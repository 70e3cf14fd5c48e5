package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet/docker"
	"github.com/bootandshoot/release/internal/human"
)

const (
	// hostWithin is how long a host may take to answer all that is asked.
	hostWithin = 15 * time.Second
	// littleSkew is how much clocks may differ: secrets and certificates with short lives, and logs side by side, bear no more.
	littleSkew = 2 * time.Second
)

// hostChecks look at the engines of fleet.hosts: those of the release.yaml here, and those that the agent knows.
func (c *cli) hostChecks(ctx context.Context, settings *config.Agent) []api.Check {
	hosts := c.namedHosts(ctx)
	names := slices.Sorted(maps.Keys(hosts))
	checks := make([][]api.Check, len(names))
	var group sync.WaitGroup
	for i, name := range names {
		group.Go(func() { checks[i] = hostCheck(ctx, name, hosts[name], remoteOf(settings, name)) })
	}
	group.Wait()
	return slices.Concat(checks...)
}

// namedHosts are the addresses of engines by the names of their hosts. What cannot be read is another check's matter.
func (c *cli) namedHosts(ctx context.Context) map[string]string {
	hosts := map[string]string{}
	if client, _, err := c.reach(ctx); err == nil {
		if known, err := client.Hosts(ctx); err == nil {
			for _, h := range known {
				hosts[h.Name] = h.Where
			}
		}
	}
	app, err := c.app()
	if err != nil {
		return hosts
	}
	for _, role := range app.RoleNames() {
		f := app.Role(role).Fleet
		maps.Copy(hosts, f.HostNames())
	}
	return hosts
}

func hostCheck(ctx context.Context, name, where string, remote *docker.Remote) []api.Check {
	ctx, cancel := context.WithTimeout(ctx, hostWithin)
	defer cancel()
	check := "host " + name
	r, err := docker.Examine(ctx, where, remote)
	if err != nil {
		return []api.Check{fails(check, err)}
	}
	space := "its images take " + size(r.Images)
	if r.Free >= 0 {
		space = size(r.Free) + " free in " + r.Root
	}
	checks := []api.Check{ok(check, "%s answers, version %s, %s, its clock is right within %s", where, r.Version, space, human.Span(max(r.Skew.Abs().Round(time.Millisecond), time.Millisecond)))}
	if r.Free >= 0 && r.Free < littleSpace {
		checks = append(checks, warn(check, "make room there: docker system df shows what takes it", "%s has only %s left", r.Root, size(r.Free)))
	}
	if r.Skew.Abs() > littleSkew {
		checks = append(checks, warn(check, "let both follow a time server", "its clock differs by %s", human.Span(r.Skew.Abs())))
	}
	return checks
}
