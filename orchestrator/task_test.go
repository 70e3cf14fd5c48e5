package orchestrator

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/internal/fault"
)

// exits is a command that ends at once, sleeps one that runs until something ends it.
func exits(code string) []string { return []string{"/testnode", "exit", code} }

var sleeps = []string{"/testnode", "sleep"}

func (r *rig) task(req TaskRequest) Task {
	r.t.Helper()
	req.Key, req.By = shop, "ann"
	t, err := r.o.RunTask(context.Background(), req)
	if err != nil {
		r.t.Fatalf("run: %v", err)
	}
	return t
}

// ended waits for a task's end.
func (r *rig) ended(t Task) Task {
	r.t.Helper()
	r.until(t.ID+" to end", func(*State) bool {
		var err error
		if t, err = r.o.Task(context.Background(), shop, t.ID); err != nil {
			r.t.Fatal(err)
		}
		return !t.Ended.IsZero()
	})
	return t
}

func TestTaskRunsOnceAndLeavesNothing(t *testing.T) {
	secret := func(c *config.App) {
		c.Fleet.Env, c.Fleet.Secrets = map[string]string{"LOG": "info"}, map[string]string{"DB": "file:/db"}
	}
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, secret)
		before := r.running("")
		task := r.task(TaskRequest{Command: sleeps})
		r.until("it to run", func(*State) bool { return len(r.running("")) == 3 })
		spec, _ := r.driver.SpecOf(task.Node)
		if spec.Kind != fleet.Once || !slices.Equal(spec.Command, sleeps) || spec.Env["LOG"] != "info" || spec.Secrets["DB"] != "secret of file:/db" ||
			spec.Image != image(1) || spec.Port != 0 {
			t.Errorf("booted with %+v", spec)
		}
		s := r.state()
		if len(s.Fleets) != 1 || len(s.Fleets[0].Nodes) != 2 {
			t.Errorf("the task counts as a node of a fleet:\n%s", r.describe())
		}
		table, err := r.router.Applied(context.Background())
		if err != nil || strings.Contains(table.Routes[0].Name, task.Node) || len(table.Routes[0].Fleets[0].Nodes) != 2 {
			t.Errorf("the table is %+v, %v", table, err)
		}
		r.driver.Log(task.Node, "out", "all cleared")
		r.driver.Kill(task.Node, fleet.Exit{Code: 3})
		end := r.ended(task)
		if end.Code != 3 || end.Failure != nil || !slices.Contains(end.Lines, "all cleared") || end.Fleet != nil {
			t.Errorf("ended as %+v", end)
		}
		if after := r.running(""); !slices.Equal(before, after) || len(r.driver.All()) != 2 {
			t.Errorf("running before %v, after %v of %v", before, after, r.driver.All())
		}
		if len(r.state().Tasks) != 0 {
			t.Errorf("the state keeps %+v", r.state().Tasks)
		}
		list, err := r.o.Tasks(context.Background(), shop, "")
		if err != nil || len(list) != 1 || list[0].ID != task.ID || list[0].Code != 3 {
			t.Errorf("tasks are %+v, %v", list, err)
		}
	})
}

// ensures counts how often a node was asked to exist.
func ensures(r *rig, node string) int {
	n := 0
	for _, c := range r.driver.Calls() {
		if c.Method == fleettest.Ensure && slices.Contains(c.Names, node) {
			n++
		}
	}
	return n
}

// A command that ends while no agent runs has its exit taken, and is not run again.
func TestTaskIsAdopted(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		task := r.task(TaskRequest{Command: sleeps})
		r.until("it to run", func(s *State) bool { return s.task(task.ID).Phase == TaskRunning && len(r.running("")) == 2 })
		r.stop()
		r.driver = r.driver.Reopen("")
		r.driver.Kill(task.Node, fleet.Exit{Code: 4})
		asked := ensures(r, task.Node)
		r.start()
		if end := r.ended(task); end.Code != 4 || end.Failure != nil {
			t.Errorf("ended as %+v", end)
		}
		if again := ensures(r, task.Node); again != asked {
			t.Errorf("the node was asked for %d times, then %d", asked, again)
		}
	})
}

// The agent dies between boot and word of it: the next one asks for the same node, and takes it as it is.
func TestTaskIsNotRunTwiceAfterUnknownBoot(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		var runs atomic.Int32
		r.driver.OnCall(func(ctx context.Context, c fleettest.Call) error {
			if c.Method != fleettest.Ensure {
				return nil
			}
			if _, there := r.driver.SpecOf(c.Names[0]); !there {
				runs.Add(1)
			}
			return nil
		})
		task := r.task(TaskRequest{Command: exits("5")})
		r.until("it to have run", func(*State) bool {
			return slices.ContainsFunc(r.driver.All(), func(n fleet.Node) bool { return n.ID.Node == task.Node }) || runs.Load() > 0
		})
		r.stop()
		r.start()
		if end := r.ended(task); end.Code != 5 || runs.Load() != 1 {
			t.Errorf("ended as %+v after %d runs", end, runs.Load())
		}
	})
}

// An end that nobody saw is said to be one, and nothing is run again.
func TestTaskWithUnknownEndFails(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		task := r.task(TaskRequest{Command: sleeps})
		r.until("it to run", func(*State) bool { return len(r.running("")) == 2 })
		r.driver.Reboot()
		end := r.ended(task)
		if end.Failure == nil || end.Failure.Code != fault.Failed || !strings.Contains(end.Failure.Message, "nobody knows how") {
			t.Errorf("ended as %+v", end)
		}
		if n := ensures(r, task.Node); n != 1 {
			t.Errorf("the node was asked for %d times", n)
		}
	})
}

func TestTaskStops(t *testing.T) {
	job := func(c *config.App) {
		c.Jobs = map[string]config.Job{"clean": {Cmd: sleeps, Timeout: config.Duration(time.Minute)}}
	}
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, job)
		late := r.task(TaskRequest{Job: "clean"})
		if _, err := r.o.RunTask(context.Background(), TaskRequest{Key: shop, Job: "clean", By: "bob"}); !fault.Is(err, fault.Busy) {
			t.Errorf("a second run of the job: %v", err)
		}
		end := r.ended(late)
		if end.Failure == nil || !strings.Contains(end.Failure.Message, "did not end within") {
			t.Errorf("ended as %+v", end)
		}
		task := r.task(TaskRequest{Command: sleeps})
		r.until("it to run", func(*State) bool { return len(r.running("")) == 2 })
		if err := r.o.StopTask(context.Background(), shop, task.ID, "bob"); err != nil {
			t.Fatal(err)
		}
		if end = r.ended(task); end.Failure == nil || end.Failure.Code != fault.Interrupted || len(r.running("")) != 1 {
			t.Errorf("ended as %+v, running %v", end, r.running(""))
		}
		last := r.task(TaskRequest{Command: sleeps})
		r.until("it to run", func(*State) bool { return len(r.running("")) == 2 })
		r.done(Request{Kind: KindDestroy})
		if end = r.ended(last); end.Failure == nil || len(r.driver.All()) != 0 {
			t.Errorf("after destroy: %+v, %v", end, r.driver.All())
		}
	})
}

func TestTaskIsRefused(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		if _, err := r.o.RunTask(ctx, TaskRequest{Key: shop, Command: exits("0")}); !fault.Is(err, fault.NotFound) {
			t.Errorf("of an app that is not known: %v", err)
		}
		r.up(1, 1)
		for what, c := range map[string]struct {
			req  TaskRequest
			want fault.Code
		}{
			"release":    {TaskRequest{Release: "r9", Command: exits("0")}, fault.NotFound},
			"job":        {TaskRequest{Job: "none"}, fault.NotFound},
			"role":       {TaskRequest{Role: "db", Command: exits("0")}, fault.NotFound},
			"no command": {TaskRequest{}, fault.Invalid},
		} {
			c.req.Key = shop
			if _, err := r.o.RunTask(ctx, c.req); !fault.Is(err, c.want) {
				t.Errorf("%s: %v, want %s", what, err, c.want)
			}
		}
	})
}

// Who reads the output of a short command gets all of it: the node stays until then.
func TestTaskOutputIsReadToItsEnd(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		task := r.task(TaskRequest{Command: sleeps, Attached: true})
		r.until("it to run", func(*State) bool { return len(r.running("")) == 2 })
		r.driver.Log(task.Node, "out", "one")
		r.driver.Kill(task.Node, fleet.Exit{})
		time.Sleep(5 * time.Second) // the reader comes late
		out, err := r.o.TaskOutput(context.Background(), shop, task.ID, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(out)
		_ = out.Close()
		if err != nil || !strings.HasSuffix(string(text), " out one\n") {
			t.Errorf("read %q, %v", text, err)
		}
		began := time.Now()
		if r.ended(task); time.Since(began) > time.Second {
			t.Errorf("the node stayed for %s after it was read", time.Since(began))
		}
		unread := r.task(TaskRequest{Command: exits("0"), Attached: true})
		began = time.Now()
		if r.ended(unread); time.Since(began) > readWithin+2*time.Second {
			t.Errorf("a task that nobody reads stayed for %s", time.Since(began))
		}
	})
}
