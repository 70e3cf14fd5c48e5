package orchestrator

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/bootandshoot/release/fleet"
)

// TaskOutput reads what a task prints, from a moment (zero: its beginning) to its end. It waits until the command has started.
// Of a task that ended there is the end that was kept.
func (o *Orchestrator) TaskOutput(ctx context.Context, key Key, id string, since time.Time) (io.ReadCloser, error) {
	for {
		changed := o.Changed()
		t, err := o.Task(ctx, key, id)
		switch {
		case err != nil:
			return nil, err
		case !t.Ended.IsZero():
			return o.endedOutput(key, t, since), nil
		case !t.Started.IsZero():
			r, err := o.followTask(ctx, t, since)
			if err == nil || !errors.Is(err, fleet.ErrNoNode) {
				return r, err
			}
			// It is being removed: what is left is read once that is done.
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// followTask reads the output of a task whose node is there.
func (o *Orchestrator) followTask(ctx context.Context, t Task, since time.Time) (io.ReadCloser, error) {
	d, err := o.opts.Drivers.Driver(t.Fleet.Driver)
	if err != nil {
		return nil, err
	}
	logger, ok := d.(fleet.Logger)
	if !ok {
		return io.NopCloser(strings.NewReader("")), nil
	}
	o.noteReading(t.Node, 1, false)
	r, err := logger.Logs(ctx, fleet.NodeID{Fleet: t.Fleet.ID, Node: t.Node}, fleet.LogOptions{Follow: true, Since: since})
	if err != nil {
		o.noteReading(t.Node, -1, false)
		return nil, err
	}
	return &taskReader{ReadCloser: r, left: sync.OnceFunc(func() { o.noteReading(t.Node, -1, false) }),
		ended: sync.OnceFunc(func() { o.noteReading(t.Node, 0, true) })}, nil
}

func (o *Orchestrator) noteReading(node string, more int, done bool) {
	o.post(func() {
		r := o.world.reads[node]
		o.world.reads[node] = taskReading{open: r.open + more, done: r.done || done}
	})
}

// endedOutput is the end of a task's output that was kept, nothing when none was.
func (o *Orchestrator) endedOutput(key Key, t Task, since time.Time) io.ReadCloser {
	if r := o.keptLog(key, t.Node, fleet.LogOptions{Since: since}); r != nil {
		return r
	}
	return io.NopCloser(strings.NewReader(""))
}

// taskReader says when its task's output was read to the end, and when nobody reads it any more.
type taskReader struct {
	io.ReadCloser
	left, ended func()
}

func (r *taskReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		r.ended()
	}
	return n, err
}

// Close says that the reader goes.
func (r *taskReader) Close() error {
	defer r.left()
	return r.ReadCloser.Close()
}
