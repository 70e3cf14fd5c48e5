package docker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/human"
)

// lookWidth is how many containers are inspected at once.
const lookWidth = 8

// Nodes lists the fleet's nodes by name. A container that was made but never started is left out: its node does not exist
// yet, and Ensure starts it.
func (d *Driver) Nodes(ctx context.Context, id fleet.FleetID) ([]fleet.Node, error) {
	r, err := d.reach(ctx)
	if err != nil {
		return nil, fmt.Errorf("list nodes of %s: %w", id, err)
	}
	list, err := d.list(ctx, &id)
	if err != nil {
		return nil, fmt.Errorf("list nodes of %s: %w", id, err)
	}
	found := make([]*fleet.Node, len(list))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(lookWidth)
	for i, c := range list {
		group.Go(func() (err error) {
			found[i], err = d.look(gctx, c, r.host)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("list nodes of %s: %w", id, err)
	}
	nodes := make([]fleet.Node, 0, len(list))
	for _, n := range found {
		if n != nil {
			nodes = append(nodes, *n)
		}
	}
	slices.SortFunc(nodes, func(a, b fleet.Node) int { return strings.Compare(a.ID.Node, b.ID.Node) })
	return nodes, nil
}

// look inspects a container; nil when it is gone by now, or was never started.
func (d *Driver) look(ctx context.Context, c container.Summary, host string) (*fleet.Node, error) {
	in, err := d.engine.ContainerInspect(ctx, c.ID)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, engineError(err, "inspect container %s", c.ID[:12])
	}
	if neverStarted(in.State) {
		return nil, nil
	}
	n, err := d.node(in, host)
	if err != nil {
		return nil, err
	}
	return &n, nil
}

// Fleets lists the fleets of this installation by the labels of their containers, those never started included.
func (d *Driver) Fleets(ctx context.Context) ([]fleet.Fleet, error) {
	list, err := d.list(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("list fleets: %w", err)
	}
	at := map[fleet.FleetID]int{}
	var fleets []fleet.Fleet
	for _, c := range list {
		id, err := fleet.ParseFleetID(c.Labels[labelFleet])
		if err != nil {
			d.log.WarnContext(ctx, "container carries our installation's label but no fleet", "container", c.ID, "error", err)
			continue
		}
		i, ok := at[id]
		if !ok {
			i, at[id] = len(fleets), len(fleets)
			fleets = append(fleets, fleet.Fleet{ID: id})
		}
		fleets[i].Nodes++
	}
	return fleets, nil
}

// list gives our containers in whatever state, of one fleet or of all.
func (d *Driver) list(ctx context.Context, id *fleet.FleetID) ([]container.Summary, error) {
	if err := d.greet(ctx); err != nil {
		return nil, err
	}
	list, err := d.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: d.ours(id)})
	if err != nil {
		return nil, engineError(err, "list containers")
	}
	return list, nil
}

// node reads a node from its container.
func (d *Driver) node(c container.InspectResponse, host string) (fleet.Node, error) {
	if c.ContainerJSONBase == nil || c.State == nil || c.Config == nil {
		return fleet.Node{}, fmt.Errorf("inspect container: the engine's answer is not complete")
	}
	labels := c.Config.Labels
	id, err := fleet.ParseFleetID(labels[labelFleet])
	if err != nil {
		return fleet.Node{}, fmt.Errorf("read labels of container %s: %w", c.Name, err)
	}
	slot, err := strconv.Atoi(labels[labelSlot])
	if err != nil {
		return fleet.Node{}, fmt.Errorf("read labels of container %s: slot: %w", c.Name, err)
	}
	n := fleet.Node{
		ID: fleet.NodeID{Fleet: id, Node: labels[labelNode]}, Slot: slot, Host: host, Address: labels[labelAddress],
		Image: labels[labelImage], Presence: fleet.Present, PID: c.State.Pid, Since: engineTime(c.State.StartedAt),
	}
	if n.Since.IsZero() {
		n.Since = engineTime(c.Created)
	}
	if !c.State.Running && !c.State.Restarting {
		n.Presence, n.PID, n.Exit = fleet.Gone, 0, exitOf(c.State, c.Path, memoryOf(c))
	}
	return n, nil
}

// neverStarted reports whether a container was made and nobody has tried to start its command yet. One whose command
// could not be run is no longer such a one: it ended.
func neverStarted(s *container.State) bool {
	return s != nil && s.Status == container.StateCreated && s.ExitCode != exitNotExecutable && s.ExitCode != exitNotFound
}

// Exit codes of a command that did not run or was killed, as shells and engines use them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitKilled        = 128 + int(unix.SIGKILL)
)

// exitOf reads how a container ended. The engine does not tell a signal from a code over 128; by the shells' rule it
// is the signal. A command that could not be run has only its code: the engine started its own init, which then did not
// find it. memory is the most bytes that it could have, 0 for all there are.
func exitOf(s *container.State, command string, memory int64) *fleet.Exit {
	e := &fleet.Exit{Code: s.ExitCode, At: engineTime(s.FinishedAt)}
	if sig := s.ExitCode - 128; sig > 0 && sig < 65 {
		e.Signal = strings.TrimPrefix(unix.SignalName(unix.Signal(sig)), "SIG")
	}
	switch {
	case s.OOMKilled && s.ExitCode != 0:
		e.Reason = "out of memory"
	case s.ExitCode == exitKilled && memory > 0 && s.Error == "":
		// The engine hears of the kernel's kill apart from the end, and forgets it when it comes second.
		e.Reason = "killed by somebody, or out of memory: it may have " + human.Size(memory)
	case s.Error != "":
		e.Reason = "could not start: " + s.Error
	case s.ExitCode == exitNotFound:
		e.Reason = fmt.Sprintf("exit code %d: as a rule %s, or a program it runs, is missing in the image; see the log", s.ExitCode, command)
	case s.ExitCode == exitNotExecutable:
		e.Reason = fmt.Sprintf("exit code %d: as a rule %s, or a program it runs, may not be executed; see the log", s.ExitCode, command)
	}
	return e
}

// memoryOf is a container's limit in bytes, 0 for none.
func memoryOf(c container.InspectResponse) int64 {
	if c.HostConfig == nil {
		return 0
	}
	return c.HostConfig.Memory
}

// engineTime reads the engine's times; those that did not happen yet are the year 1, or empty.
func engineTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}
