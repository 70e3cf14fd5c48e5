package docker

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/pid1"
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
	n, err := d.node(ctx, in, host)
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
		id, err := fleet.ParseFleetID(c.Labels[dockerapi.LabelFleet])
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
func (d *Driver) node(ctx context.Context, c container.InspectResponse, host string) (fleet.Node, error) {
	if c.ContainerJSONBase == nil || c.State == nil || c.Config == nil {
		return fleet.Node{}, fmt.Errorf("inspect container: the engine's answer is not complete")
	}
	labels := c.Config.Labels
	n, err := dockerapi.NodeOf(labels)
	if err != nil {
		return fleet.Node{}, fmt.Errorf("read labels of container %s: %w", c.Name, err)
	}
	n.Host, n.Address, n.Presence, n.PID, n.Since = host, labels[labelAddress], fleet.Present, c.State.Pid, engineTime(c.State.StartedAt)
	if n.Since.IsZero() {
		n.Since = engineTime(c.Created)
	}
	if !c.State.Running && !c.State.Restarting {
		n.Presence, n.PID, n.Exit = fleet.Gone, 0, exitOf(c.State, c.Path, memoryOf(c))
		if n.Exit.Code == dockerapi.ExitNotFound && d.lacksProgram(ctx, c) {
			n.Exit.Reason = "could not start: " + pid1.NoProgram(c.Path, pathOf(c)).Error()
		}
	}
	return n, nil
}

// neverStarted reports whether a container was made and nobody has tried to start its command yet. One whose command
// could not be run is no longer such a one: it ended.
func neverStarted(s *container.State) bool {
	return s != nil && s.Status == container.StateCreated && s.ExitCode != dockerapi.ExitNotExecutable && s.ExitCode != dockerapi.ExitNotFound
}

// exitOf reads how a container ended. memory is the most bytes that it could have, 0 for all there are.
func exitOf(s *container.State, command string, memory int64) *fleet.Exit {
	e := &fleet.Exit{Code: s.ExitCode, Signal: dockerapi.ExitSignal(s.ExitCode), At: engineTime(s.FinishedAt)}
	switch {
	case s.OOMKilled && s.ExitCode != 0:
		e.Reason = "out of memory"
	case s.Error != "":
		e.Reason = "could not start: " + s.Error
	default:
		e.Reason = dockerapi.ExitReason(s.ExitCode, command, memory)
	}
	return e
}

// lacksProgram looks whether a container that ended has the program of its command: an exit code alone may be the command's own.
func (d *Driver) lacksProgram(ctx context.Context, c container.InspectResponse) bool {
	places := []string{c.Path}
	if folders := pathOf(c); folders != "" {
		places = nil
		for dir := range strings.SplitSeq(folders, ":") {
			places = append(places, path.Join(dir, c.Path))
		}
	}
	for _, at := range places {
		if !path.IsAbs(at) {
			at = path.Join("/", c.Config.WorkingDir, at)
		}
		if _, err := d.engine.ContainerStatPath(ctx, c.ID, at); !errdefs.IsNotFound(err) {
			return false // it is there, or nobody knows
		}
	}
	return true
}

// pathOf is the PATH in which a container's program is looked for; "" where it is named by its path.
func pathOf(c container.InspectResponse) string {
	if strings.Contains(c.Path, "/") {
		return ""
	}
	for _, kv := range slices.Backward(c.Config.Env) {
		if folders, ok := strings.CutPrefix(kv, "PATH="); ok && folders != "" {
			return folders
		}
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" // the engine's own
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
