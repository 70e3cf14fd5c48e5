package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

// TaskRequest asks for a command to be run once, in a node of its own.
type TaskRequest struct {
	Key      Key
	By       string
	Command  []string // program and arguments; empty: those of Job
	Job      string   // a job of the release's configuration
	Release  string   // whose image, environment and secrets; "": the one that jobs run with
	Role     string   // "": the one that stands for the app
	Image    string   // digest of another image; "": the release's
	Attached bool     // the caller reads the output: the node stays until that is done
	DryRun   bool     // say what task it would be, and begin none
}

// askedTask is a request with what could not be decided purely.
type askedTask struct {
	TaskRequest
	driver, scope string
}

// RunTask begins a task. Errors: fault.NotFound for a release, role or job that is not there; fault.Busy when a run of the job is
// under way; fault.Invalid, or what the image store says, for an image that cannot be used.
func (o *Orchestrator) RunTask(ctx context.Context, req TaskRequest) (Task, error) {
	s, err := o.state(ctx, req.Key)
	if err != nil {
		return Task{}, err
	}
	ask := askedTask{TaskRequest: req}
	if err := o.askTask(ctx, s, &ask); err != nil {
		return Task{}, fmt.Errorf("run a task of %s: %w", req.Key, err)
	}
	var begun Task
	err = o.change(ctx, req.Key, req.DryRun, func(r *round) error {
		t, err := r.requestTask(ask)
		if err == nil {
			begun = *t
		}
		return err
	})
	if err != nil {
		return Task{}, err
	}
	return begun, nil
}

// askTask looks up what the task's image and driver are.
func (o *Orchestrator) askTask(ctx context.Context, s *State, ask *askedTask) error {
	rel, err := s.taskRelease(ask.Release)
	if err != nil {
		return err
	}
	role := orText(ask.Role, rel.Config.MainRole())
	image := orText(ask.Image, rel.imageOf(role))
	if _, err := o.opts.Images.Get(images.Digest(image)); err != nil {
		return err
	}
	if err := o.verify(image, rel.Config.Require); err != nil {
		return err
	}
	part := rel.Config.Role(role).Fleet
	name := part.DriverName()
	if fl := s.fleetIn(rel.ID, role); fl != nil {
		name = fl.Driver
	}
	ask.driver, ask.scope, err = o.place(ctx, name)
	return err
}

// taskRelease is the release named, else the one that has the traffic, else the newest.
func (s *State) taskRelease(id string) (*Release, error) {
	if id != "" {
		if rel := s.release(id); rel != nil {
			return rel, nil
		}
		return nil, s.noRelease(id)
	}
	if rel := s.jobRelease(); rel != nil {
		return rel, nil
	}
	if len(s.Releases) > 0 {
		return s.Releases[len(s.Releases)-1], nil
	}
	return nil, fault.New(fault.NotFound, "%s has no release yet", s.Key).WithHint("launch one first: release launch")
}

// requestTask begins what a person asked for.
func (r *round) requestTask(ask askedTask) (*Task, error) {
	rel, err := r.s.taskRelease(ask.Release)
	if err != nil {
		return nil, err
	}
	spec := taskSpec{
		release: rel, role: orText(ask.Role, rel.Config.MainRole()), image: ask.Image, command: ask.Command, driver: ask.driver, scope: ask.scope,
		by: ask.By, attached: ask.Attached,
	}
	if ask.Job != "" {
		job, err := r.requestedJob(rel, ask.Job)
		if err != nil {
			return nil, err
		}
		spec.job, spec.command, spec.timeout = ask.Job, job.Cmd, job.Timeout.Std()
	}
	if len(spec.command) == 0 || spec.command[0] == "" {
		return nil, fault.New(fault.Invalid, "run a task of %s: no command given", r.s.Key)
	}
	if !rel.Config.HasRole(spec.role) {
		return nil, fault.New(fault.NotFound, "%s of %s has no role %q", rel.ID, r.s.Key, spec.role).
			WithHint("it has %s", strings.Join(rel.Config.RoleNames(), ", "))
	}
	if op := r.s.exclusive(); op != nil && op.Kind == KindDestroy {
		return nil, busy(r.s.Key, op)
	}
	t := r.beginTask(spec)
	if t.Failure != nil {
		return nil, fault.New(t.Failure.Code, "%s", t.Failure.Message).WithHint("%s", t.Failure.Hint)
	}
	return t, nil
}

// requestedJob is a job of a release that no run is under way of.
func (r *round) requestedJob(rel *Release, name string) (config.Job, error) {
	job, ok := rel.Config.Jobs[name]
	if !ok {
		return job, fault.New(fault.NotFound, "%s of %s has no job %q", rel.ID, r.s.Key, name).WithHint("release run --list shows the jobs")
	}
	if t := r.s.running(name); t != nil {
		return job, fault.New(fault.Busy, "job %s of %s is run by %s since %s (%s)", name, r.s.Key, t.By, t.At.Format(sinceTime), t.ID).
			WithHint("see what it prints: release logs %s --follow", t.ID)
	}
	return job, nil
}

// StopTask ends a task: its command gets the app's stop signal and grace. One that has ended is left as it is.
func (o *Orchestrator) StopTask(ctx context.Context, key Key, id, by string) error {
	return o.change(ctx, key, false, func(r *round) error {
		if t := r.s.task(id); t != nil && t.Ended.IsZero() && t.StoppedBy == "" {
			t.StoppedBy = by
			r.sayTask("stop", t, "%s is stopped by %s", t.name(), by)
		}
		return nil
	})
}

// Task is one that is under way or ended (Ended is set).
func (o *Orchestrator) Task(ctx context.Context, key Key, id string) (Task, error) {
	s, err := o.state(ctx, key)
	if err != nil {
		return Task{}, err
	}
	if t := s.task(id); t != nil {
		return *t, nil
	}
	var n int
	if _, err := fmt.Sscanf(id, "task-%d", &n); err != nil {
		return Task{}, fault.New(fault.Invalid, "%q is not a task's id such as task-3", id)
	}
	e, err := o.opts.Store.Get(ctx, taskKey(key, n))
	if errors.Is(err, store.ErrNotFound) {
		return Task{}, fault.New(fault.NotFound, "%s has no task %s", key, id).WithHint("release run --list shows them")
	}
	if err != nil {
		return Task{}, fmt.Errorf("read task %s: %w", id, err)
	}
	return readTask(e)
}

func readTask(e store.Entry) (t Task, err error) {
	if err := json.Unmarshal(e.Value, &t); err != nil {
		return t, fmt.Errorf("read %s: %w", e.Key, err)
	}
	return t, nil
}

// Tasks lists the tasks under way and those that ended, newest first, at most 200; with a job only its runs.
func (o *Orchestrator) Tasks(ctx context.Context, key Key, job string) ([]Task, error) {
	s, err := o.state(ctx, key)
	if err != nil {
		return nil, err
	}
	entries, err := o.opts.Store.List(ctx, taskPrefix(key))
	if err != nil {
		return nil, fmt.Errorf("list tasks of %s: %w", key, err)
	}
	var list []Task
	for _, t := range s.Tasks {
		if t.Ended.IsZero() {
			list = append(list, *t)
		}
	}
	for _, e := range entries {
		t, err := readTask(e)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	if job != "" {
		list = slices.DeleteFunc(list, func(t Task) bool { return t.Job != job })
	}
	slices.SortFunc(list, func(a, b Task) int { return b.Number - a.Number })
	return slices.CompactFunc(list, func(a, b Task) bool { return a.Number == b.Number }), nil
}

// JobStatus is a job as it is now.
type JobStatus struct {
	Name  string
	Job   config.Job
	State JobState // zero for one that never ran and has no schedule
	Runs  string   // the id of the run under way; "": none
	Next  time.Time
}
