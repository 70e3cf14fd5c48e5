package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet/docker"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/router/embedded"
	"github.com/bootandshoot/release/sandbox"
)

func (c *cli) doctorVerb() *cobra.Command {
	var orphans bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Look whether this machine has what bakes and fleets need",
		Long: `Looks at sandboxes, the Docker engine, folders, disk space, ports, agent, router and Consul, and at a Docker Swarm and
Amazon EC2 where the agent or the app here uses it, and says what to do. Where a fleet of the app here is of QEMU's machines, or its
recipe says machine:, it looks at QEMU too, boots a tiny guest to see whether KVM works, and looks for UEFI firmware. It makes and
removes nothing. Exits with 1 when something fails; warnings are no failure.`,
		Example: "  release doctor\n  release doctor --json\n  release doctor --orphans", Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var checks []api.Check
			if orphans {
				checks = c.orphanChecks(cmd.Context())
			} else {
				checks = c.examine(cmd.Context())
			}
			err := verdict(checks)
			show := func(w io.Writer) {
				for _, ch := range checks {
					fmt.Fprintf(w, "%s  %s  %s\n", pad(ch.State, c.out.byState(ch.State), 4), pad(ch.Name, ch.Name, 14), ch.Message)
					if ch.Hint != "" {
						fmt.Fprintf(w, "%s %s\n", pad("", "", 21), c.out.cyan("→ "+ch.Hint))
					}
				}
			}
			if writeErr := c.out.result(api.DoctorResult{Head: api.NewHead(err), Checks: checks}, show); writeErr != nil {
				return writeErr
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&orphans, "orphans", false, "instead find what is left at AWS by the tag of this installation, and that nothing needs")
	return cmd
}

func verdict(checks []api.Check) error {
	var failed []string
	for _, ch := range checks {
		if ch.State == "fail" {
			failed = append(failed, ch.Name)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fault.New(fault.Failed, "doctor: failed: %s", strings.Join(failed, ", "))
}

func ok(name, format string, args ...any) api.Check {
	return api.Check{Name: name, State: "ok", Message: fmt.Sprintf(format, args...)}
}

func warn(name, hint, format string, args ...any) api.Check {
	return api.Check{Name: name, State: "warn", Message: fmt.Sprintf(format, args...), Hint: hint}
}

func fails(name string, err error) api.Check {
	e := fault.All(err)[0]
	return api.Check{Name: name, State: "fail", Message: e.Message, Hint: e.Hint}
}

// examine runs all checks.
func (c *cli) examine(ctx context.Context) []api.Check {
	checks := sandboxChecks(sandbox.Probe(ctx))
	checks = append(checks, dockerCheck(ctx))
	checks = append(checks, c.machineChecks(ctx)...)
	settings, err := c.settings("")
	if err != nil {
		return append(checks, fails("agent.yaml", err))
	}
	stateDir, stateErr := c.stateDir()
	imagesDir, imagesErr := c.imagesDir(settings)
	checks = append(checks, folderCheck("state folder", stateDir, stateErr), folderCheck("images folder", imagesDir, imagesErr))
	checks = append(checks, portsCheck(settings), toolCheck("git", "recipes with git: steps need it: apt-get install git"))
	checks = append(checks, c.agentCheck(ctx))
	checks = append(checks, c.hostChecks(ctx, settings)...)
	checks = append(checks, consulChecks(ctx, settings)...)
	if stateErr == nil {
		checks = append(checks, swarmChecks(ctx, stateDir, settings)...)
		checks = append(checks, c.ec2Checks(ctx, stateDir, settings)...)
	}
	if settings.Router.Backend == config.RouterHAProxy {
		return append(checks, haproxyChecks(ctx, stateDir, settings)...)
	}
	if settings.Router.Backend == config.RouterALB {
		return append(checks, albCheck(ctx, stateDir, settings))
	}
	if settings.Router.Backend == config.RouterConsul {
		return checks // its edges are among those of Consul
	}
	return append(checks, c.routerCheck(ctx, stateDir))
}

func sandboxChecks(s sandbox.Support) []api.Check {
	how := "as root"
	switch {
	case s.Rootless && s.FullRange:
		how = "as an ordinary user with a range of ids"
	case s.Rootless:
		how = "as an ordinary user with one id"
	}
	main := ok("sandbox", "works %s", how)
	if !s.UserNamespaces || !s.Overlay {
		main = fails("sandbox", fault.New(fault.Unsupported, "does not work %s", how))
	}
	checks := []api.Check{main}
	for _, p := range s.Problems {
		checks = append(checks, warn("sandbox", p.Hint, "%s: %s", p.What, p.Why))
	}
	return checks
}

func dockerCheck(ctx context.Context) api.Check {
	if !dockerPlausible() {
		return ok("docker", "no engine here; fleets run in sandboxes")
	}
	if err := docker.Available(ctx, ""); err != nil {
		e := fault.All(err)[0]
		return warn("docker", e.Hint, "%s", e.Message)
	}
	return ok("docker", "the engine answers")
}

// littleSpace is the free disk space in bytes below which doctor warns.
const littleSpace = 2 << 30

// folderCheck tries to write into a folder, or the nearest one above that exists, and looks at the space left.
func folderCheck(name, dir string, err error) api.Check {
	if err != nil {
		return fails(name, err)
	}
	at := dir
	for {
		if _, err := os.Stat(at); err == nil || at == "/" {
			break
		}
		at = filepath.Dir(at)
	}
	if err := unix.Access(at, unix.W_OK); err != nil {
		return fails(name, fault.New(fault.Denied, "%s cannot be written: %w", at, err).WithHint("RELEASE_STATE_DIR and RELEASE_IMAGES_DIR name others"))
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(at, &fs); err != nil {
		return fails(name, err)
	}
	free := int64(fs.Bavail) * fs.Bsize
	if free < littleSpace {
		return warn(name, "release images rm removes images", "%s has only %s left", dir, size(free))
	}
	return ok(name, "%s, %s free", dir, size(free))
}

// portsCheck sees whether the nodes' ports lie below those that the kernel gives to outgoing connections.
func portsCheck(settings *config.Agent) api.Check {
	first := 32768
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if f := strings.Fields(string(b)); len(f) == 2 {
			first, _ = strconv.Atoi(f[0])
		}
	}
	if settings.Ports.Last >= first {
		return warn("ports", "set ports in agent.yaml", "nodes' ports %s overlap the kernel's own, from %d", settings.Ports, first)
	}
	var c net.ListenConfig
	l, err := c.Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", settings.Ports.First))
	if err != nil {
		return ok("ports", "%s for nodes; %d is in use", settings.Ports, settings.Ports.First)
	}
	_ = l.Close()
	return ok("ports", "%s for nodes", settings.Ports)
}

func toolCheck(name, hint string) api.Check {
	path, err := exec.LookPath(name)
	if err != nil {
		return warn(name, hint, "not found")
	}
	return ok(name, "%s", path)
}

func (c *cli) agentCheck(ctx context.Context) api.Check {
	_, a, err := c.reach(ctx)
	if errors.Is(err, api.ErrNoAgent) {
		return ok("agent", "none runs; the verbs that need one start it")
	}
	if err != nil {
		return fails("agent", err)
	}
	if a.Version != programVersion() {
		return warn("agent", "release agent stop; the next verb starts the new one", "runs version %s, this is %s", a.Version, programVersion())
	}
	if a.Role == api.RoleStandby && a.Why != "" {
		return warn("agent", "release agent status", "runs, pid %d, and could not take over: %s", a.PID, a.Why)
	}
	return ok("agent", "runs, pid %d, since %s", a.PID, a.Since.Local().Format(time.DateTime))
}

func (c *cli) routerCheck(ctx context.Context, stateDir string) api.Check {
	s, err := embedded.NewClient(filepath.Join(stateDir, routerDir)).Status(ctx)
	if err != nil {
		if _, _, err := c.reach(ctx); err == nil {
			return api.Check{Name: "router", State: "fail", Message: "none runs beside the agent: users get no answers", Hint: routerHint}
		}
		return ok("router", "none runs; a starting agent starts it")
	}
	return checkOfRouter(s)
}

// checkOfRouter is what a router that runs says of itself.
func checkOfRouter(s embedded.Status) api.Check {
	for _, l := range s.Listeners {
		if l.Error != "" {
			return api.Check{Name: "router", State: "fail", Message: l.Listen + ": " + l.Error, Hint: "free the port or change route.listen"}
		}
	}
	// All of it at once: a certificate that stays as it is for long must not hide that the router is an old one.
	var found, hints []string
	if s.Version != programVersion() {
		found, hints = append(found, fmt.Sprintf("runs version %s, this is %s", s.Version, programVersion())), append(hints, "release router upgrade")
	}
	for _, l := range s.Listeners {
		if l.Warning != "" {
			found, hints = append(found, l.Listen+": "+l.Warning), append(hints, "see docs/router.md, HTTPS")
		}
	}
	if len(found) > 0 {
		return warn("router", strings.Join(slices.Compact(hints), "; "), "%s", strings.Join(found, "; "))
	}
	return ok("router", "runs, pid %d, %s in flight", s.PID, human.Count(s.InFlight, "request"))
}
