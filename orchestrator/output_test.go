package orchestrator

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// chatty is a driver whose commands write both streams at the same time, as drivers do that copy each by itself.
type chatty struct{ fleet.Driver }

func (chatty) Exec(_ context.Context, _ fleet.NodeID, spec fleet.ExecSpec) (int, error) {
	var streams sync.WaitGroup
	for _, w := range []io.Writer{spec.Stdout, spec.Stderr} {
		streams.Go(func() {
			for range 1000 {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 1000))
			}
		})
	}
	streams.Wait()
	return 1, nil
}

// TestProbeTakesBothStreams: they come from two goroutines, and a command may write without end.
func TestProbeTakesBothStreams(t *testing.T) {
	o := &Orchestrator{opts: Options{Drivers: oneDriver{chatty{}}}}
	code, out, err := o.execIn("fake", fleet.NodeID{})(t.Context(), []string{"/check"})
	if code != 1 || err != nil {
		t.Fatalf("code %d, %v", code, err)
	}
	if len(out) == 0 || len(out) > maxProbeOutput {
		t.Errorf("%d bytes of output are held, want at most %d", len(out), maxProbeOutput)
	}
}

// keptTails is the last output of one node that is gone.
type keptTails struct{ id fleet.NodeID }

func (k keptTails) List(app, env string) ([]fleet.Tail, error) {
	if (Key{App: app, Env: env}) != shop {
		return nil, nil
	}
	return []fleet.Tail{{ID: k.id}}, nil
}

func (k keptTails) Open(_, _, node string, _ fleet.LogOptions) (io.ReadCloser, error) {
	if node != k.id.Node {
		return nil, fleet.ErrNoNode
	}
	return io.NopCloser(strings.NewReader("its last words\n")), nil
}

func (keptTails) Forget(string, string) error { return nil }

// TestLogsOfARemovedNode: what a node said before it died is asked for once it is replaced.
func TestLogsOfARemovedNode(t *testing.T) {
	const gone = "shop-production-r1-abcde"
	o := &Orchestrator{opts: Options{Tails: keptTails{fleet.NodeID{Node: gone}}}, ready: make(chan struct{}),
		apps: map[Key]*app{shop: {state: &State{Key: shop}}}}
	close(o.ready)
	r, err := o.Logs(t.Context(), shop, gone, fleet.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if text, err := io.ReadAll(r); err != nil || string(text) != "its last words\n" {
		t.Errorf("the log is %q, %v", text, err)
	}
	for _, other := range []string{"shop-production-r1-zzzzz", "shop-staging-r1-abcde", "abcde"} {
		if _, err := o.Logs(t.Context(), shop, other, fleet.LogOptions{}); !fault.Is(err, fault.NotFound) {
			t.Errorf("logs of %s: %v, want not found", other, err)
		}
	}
}

// removing is a driver whose nodes are on their way out.
type removing struct{ fleet.Driver }

func (removing) Logs(context.Context, fleet.NodeID, fleet.LogOptions) (io.ReadCloser, error) {
	return nil, fleet.ErrNoNode
}

// While a node is removed what is kept of it answers, and before that a plain word.
func TestLogsWhileANodeIsRemoved(t *testing.T) {
	const name, early = "shop-production-r1-abcde", "shop-production-r1-fghij"
	fl := &Fleet{ID: fleet.FleetID{App: "shop", Env: "production", Role: Role, Release: "r1", Incarnation: 1}, Nodes: []*Node{{Name: name}, {Name: early}}}
	o := &Orchestrator{opts: Options{Drivers: oneDriver{removing{}}, Tails: keptTails{fleet.NodeID{Node: name}}}, ready: make(chan struct{}),
		apps: map[Key]*app{shop: {state: &State{Key: shop, Fleets: []*Fleet{fl}}}}}
	close(o.ready)
	r, err := o.Logs(t.Context(), shop, name, fleet.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if text, err := io.ReadAll(r); err != nil || string(text) != "its last words\n" {
		t.Errorf("the log is %q, %v", text, err)
	}
	if _, err := o.Logs(t.Context(), shop, early, fleet.LogOptions{}); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "is being removed") {
		t.Errorf("nothing is kept: %v", err)
	}
}

// TestOutputOfAnEndedTask: it is asked for once the node of the task is gone.
func TestOutputOfAnEndedTask(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		task := r.ended(r.task(TaskRequest{Command: exits("0")}))
		r.stop()
		r.tails = keptTails{fleet.NodeID{Node: task.Node}}
		r.start()
		out, err := r.o.TaskOutput(t.Context(), shop, task.ID, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(out); err != nil || string(text) != "its last words\n" {
			t.Errorf("the output is %q, %v", text, err)
		}
	})
}
