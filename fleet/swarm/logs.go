package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	dockerswarm "github.com/docker/docker/api/types/swarm"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/pause"
)

// Logs reads a node's output through the managers, from whichever host it is on, until its service is removed. Of a host that is down
// nothing is left.
func (d *Driver) Logs(ctx context.Context, id fleet.NodeID, opts fleet.LogOptions) (io.ReadCloser, error) {
	doing := "read log of node " + id.Node
	t, err := d.kept(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	if !d.readable(ctx, t) {
		return nil, fmt.Errorf("%s: %w: %s", doing, fleet.ErrNoNode, id.Node)
	}
	r, err := d.output(ctx, t, opts)
	if err != nil {
		return nil, explain(err, "%s", doing)
	}
	return r, nil
}

// readable says whether there is output of a task: it has been on a host that is not down, and nobody has removed its service.
func (d *Driver) readable(ctx context.Context, t task) bool {
	if t.NodeID == "" || t.DesiredState == dockerswarm.TaskStateRemove {
		return false
	}
	hosts, err := d.hosts(ctx)
	return err == nil && !hosts[t.NodeID].lost()
}

// output reads a task's output. Following ends with the task.
func (d *Driver) output(ctx context.Context, t task, opts fleet.LogOptions) (io.ReadCloser, error) {
	follow := opts.Follow && !t.over()
	ask := container.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: follow, Tail: "all"}
	if opts.Tail > 0 {
		ask.Tail = strconv.Itoa(opts.Tail)
	}
	if !opts.Since.IsZero() {
		ask.Since = fmt.Sprintf("%d.%09d", opts.Since.Unix(), opts.Since.Nanosecond())
	}
	// The answer lasts longer than the call, and so must its context: the manager that answered last is asked.
	m := d.managers[d.current.Load()]
	if err := m.greet(ctx); err != nil {
		return nil, err
	}
	raw, err := m.client.TaskLogs(ctx, t.ID, ask)
	if err != nil {
		return nil, err
	}
	if follow {
		raw = d.untilEnd(ctx, t, raw)
	}
	return dockerapi.Lines(raw), nil
}

// quiet is how long no output comes after the end of a task until all of it has come: the Swarm does not say.
const quiet = 500 * time.Millisecond

// followed is a task's stream while it is followed. The Swarm never ends one by itself.
type followed struct {
	*io.PipeReader
	raw  io.Closer
	stop context.CancelFunc
}

func (f *followed) Close() error {
	f.stop()
	f.raw.Close() //nolint:errcheck // closing a response that was read says nothing
	return f.PipeReader.Close()
}

// untilEnd ends a stream a moment after its task.
func (d *Driver) untilEnd(ctx context.Context, t task, raw io.ReadCloser) io.ReadCloser {
	ctx, stop := context.WithCancel(ctx)
	r, w := io.Pipe()
	moved := make(chan struct{}, 1)
	go func() {
		_, err := io.Copy(w, &noting{raw, moved})
		w.CloseWithError(err)
		stop()
	}()
	go func() {
		err := d.awaitEnd(ctx, t, followEvery)
		if err == nil {
			for waits := true; waits; {
				select {
				case <-moved:
				case <-ctx.Done():
					waits = false
				case <-time.After(quiet):
					waits = false
				}
			}
		}
		w.CloseWithError(err) // without one: the end of what is read
		raw.Close()           //nolint:errcheck // closing a response that was read says nothing
	}()
	return &followed{r, raw, stop}
}

// awaitEnd waits until a task has ended, also while no manager answers: what it prints may come all the same.
func (d *Driver) awaitEnd(ctx context.Context, t task, every time.Duration) error {
	for {
		err := d.gone(ctx, t, every)
		if !errors.Is(err, fleet.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		if err := pause.For(ctx, every); err != nil {
			return err
		}
	}
}

// followEvery is the pause between two looks at whether a task that is followed has ended.
const followEvery = 500 * time.Millisecond

// noting says when something was read.
type noting struct {
	io.Reader
	moved chan<- struct{}
}

func (n *noting) Read(p []byte) (int, error) {
	got, err := n.Reader.Read(p)
	select {
	case n.moved <- struct{}{}:
	default:
	}
	return got, err
}

const (
	// tailMost is how many lines at most are asked for when a node is removed, and tailWithin how long that may take.
	tailMost   = 20_000
	tailWithin = 5 * time.Second
)

// keepTail hands on the end of a node's output, which goes with its service; what it prints when it is stopped too. The answer waits
// until that is done, not for long; the caller then ends ctx. A node is removed all the same when it fails.
func (d *Driver) keepTail(ctx context.Context, id fleet.NodeID, tasks []task) (kept func()) {
	if d.opts.Tails == nil || len(tasks) == 0 || !d.readable(ctx, tasks[0]) {
		return func() {}
	}
	t := tasks[0]
	kind := fleet.Kind(t.Spec.ContainerSpec.Labels[dockerapi.LabelKind])
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, err := d.output(ctx, t, fleet.LogOptions{Tail: tailMost, Follow: true})
		if err == nil {
			err = errors.Join(d.opts.Tails.Keep(id, kind, r), r.Close())
		}
		if err != nil && ctx.Err() == nil {
			d.log.WarnContext(ctx, "cannot keep the end of a log", "node", id.Node, "error", err)
		}
	}()
	wait := func() {
		select {
		case <-done:
		case <-time.After(tailWithin):
		}
	}
	if t.over() { // all of it is there, as long as the service is
		wait()
	}
	return wait
}
