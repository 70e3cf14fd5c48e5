package orchestrator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// A task is a command that runs once in a node of its own, of a release's image and with its environment and secrets: something
// that a person or a schedule asks for, or that an operation needs. Nothing routes to it, no size counts it and nothing makes
// up for it. Its node is named in the journal before it boots, and an agent that starts takes what it finds: a command that
// may have run is never run again.

// TaskPhase is where a task is.
type TaskPhase string

const (
	TaskPreparing TaskPhase = "preparing image"
	TaskRunning   TaskPhase = "running" // or being booted: Started says which
	TaskRemoving  TaskPhase = "removing"
	TaskDone      TaskPhase = "done"
)

// Task is one command that runs, or its record once it ended.
type Task struct {
	ID        string        `json:"id"` // "task-3", counted per app and environment
	Number    int           `json:"number"`
	Job       string        `json:"job,omitempty"`       // what it is a run of
	Scheduled bool          `json:"scheduled,omitempty"` // its job's schedule began it
	Operation string        `json:"operation,omitempty"` // the operation that needs it
	Purpose   string        `json:"purpose,omitempty"`   // for people, of an operation's: "migration 3"
	By        string        `json:"by"`
	At        time.Time     `json:"at"`
	Release   string        `json:"release"` // whose environment and secrets it has
	Role      string        `json:"role"`
	Image     string        `json:"image"`
	Command   []string      `json:"command"`
	Timeout   time.Duration `json:"timeout,omitempty"`  // from the command's start; 0: none
	Attached  bool          `json:"attached,omitempty"` // somebody reads its output: its node stays until that is done
	Node      string        `json:"node"`
	Fleet     *Fleet        `json:"fleet,omitempty"` // its node, until that is removed
	Phase     TaskPhase     `json:"phase"`
	Waits     string        `json:"waits,omitempty"`   // what it waits for, for people
	Started   time.Time     `json:"started,omitzero"`  // the command
	Finished  time.Time     `json:"finished,omitzero"` // the command
	Code      int           `json:"code"`              // exit code, once it finished without a failure
	Reason    string        `json:"reason,omitempty"`  // of an exit code, if the driver says one: "out of memory"
	Failure   *Failure      `json:"failure,omitempty"` // why it did not come to an end of its own
	StoppedBy string        `json:"stopped_by,omitempty"`
	Lines     []string      `json:"lines,omitempty"` // the last that it printed
	Ended     time.Time     `json:"ended,omitzero"`  // nothing of it is left
}

// Succeeded says whether the command ran to its end, with exit code 0.
func (t *Task) Succeeded() bool { return !t.Ended.IsZero() && t.Failure == nil && t.Code == 0 }

// name is a task for people: "task-3", "job cleanup (task-3)".
func (t *Task) name() string {
	switch {
	case t.Job != "":
		return fmt.Sprintf("job %s (%s)", t.Job, t.ID)
	case t.Purpose != "":
		return fmt.Sprintf("%s (%s)", t.Purpose, t.ID)
	}
	return t.ID
}

// taskSpec is what a task is begun with.
type taskSpec struct {
	release   *Release
	role      string
	image     string // "": that of the release
	command   []string
	timeout   time.Duration
	driver    string
	scope     string
	by        string
	job       string
	scheduled bool
	operation string
	purpose   string
	attached  bool
}

// beginTask mints a task with its node. An operation that needs one keeps the id and looks for it with task: a task of an
// operation stays in the state until the operation has ended. One that no host is there for has failed already.
func (r *round) beginTask(spec taskSpec) *Task {
	rel := spec.release
	rel.Incarnations++
	id := fleet.FleetID{App: r.s.Key.App, Env: r.s.Key.Env, Role: spec.role, Release: rel.ID, Incarnation: rel.Incarnations}
	suffix, slot := r.f.Mint()
	n := &Node{Name: nodeName(id, suffix), Slot: slot, State: NodeStarting, Since: r.f.Now, MintedAt: r.f.Now}
	r.s.NextTask++
	t := &Task{
		ID: fmt.Sprintf("task-%d", r.s.NextTask), Number: r.s.NextTask, Job: spec.job, Scheduled: spec.scheduled,
		Operation: spec.operation, Purpose: spec.purpose, By: spec.by, At: r.f.Now, Release: rel.ID, Role: spec.role,
		Image: orText(spec.image, rel.imageOf(spec.role)), Command: spec.command, Timeout: spec.timeout, Attached: spec.attached, Node: n.Name,
		Phase: TaskPreparing,
	}
	holder := &Fleet{ID: id, Driver: spec.driver, Scope: spec.scope, Image: t.Image, Since: r.f.Now, Nodes: []*Node{n}}
	t.Fleet = holder
	r.s.Tasks = append(r.s.Tasks, t)
	r.sayTask("begin", t, "%s by %s: %s", t.name(), t.By, commandText(t.Command))
	var err error
	if n.Host, err = r.placeTask(holder); err != nil {
		r.failTask(t, fault.CodeOf(err), "%v", err)
		t.Failure.Hint = hintOf(err)
	}
	return t
}

// commandText is a command for people: its beginning.
func commandText(command []string) string {
	text := strings.Join(command, " ")
	if first, _, more := strings.Cut(text, "\n"); more {
		text = first + " …"
	}
	if len(text) > maxCommandText {
		text = strings.ToValidUTF8(text[:maxCommandText], "") + "…"
	}
	return text
}

// maxCommandText is how much of a command is shown, in bytes.
const maxCommandText = 200

// task is one that is under way, or that an operation under way has not taken note of; nil for none.
func (s *State) task(id string) *Task {
	for _, t := range s.Tasks {
		if t.ID == id {
			return t
		}
	}
	return nil
}

// taskOf is the task whose node a holder holds, nil for a fleet.
func (s *State) taskOf(fl *Fleet) *Task {
	for _, t := range s.Tasks {
		if t.Fleet != nil && t.Fleet.ID == fl.ID {
			return t
		}
	}
	return nil
}

// taskNamed is the task under way that is called so, or whose node is; nil for none.
func (s *State) taskNamed(name string) *Task {
	for _, t := range s.Tasks {
		if t.Fleet != nil && (t.ID == name || t.Node == name || strings.HasSuffix(t.Node, "-"+name)) {
			return t
		}
	}
	return nil
}

// running is the run of a job that is under way, or nil.
func (s *State) running(job string) *Task {
	for _, t := range s.Tasks {
		if t.Job == job && t.Ended.IsZero() {
			return t
		}
	}
	return nil
}

func (r *round) sayTask(what string, t *Task, format string, args ...any) {
	r.say(Event{Type: "task." + what, Operation: t.Operation, Release: t.Release, Node: t.Node, Task: t.ID}, format, args...)
}

// runTasks moves every task on, and forgets those that ended unless an operation waits for them.
func (r *round) runTasks() {
	for _, t := range r.s.Tasks {
		for range 4 { // several phases may pass in one round
			before := t.Phase
			r.stepTask(t)
			if t.Phase == before {
				break
			}
		}
	}
	r.s.Tasks = slices.DeleteFunc(r.s.Tasks, func(t *Task) bool {
		waited := slices.ContainsFunc(r.s.Operations, func(op *Operation) bool { return op.ID == t.Operation })
		return !t.Ended.IsZero() && !waited
	})
}

func (r *round) stepTask(t *Task) {
	switch t.Phase {
	case TaskPreparing:
		r.prepareTask(t)
	case TaskRunning:
		r.watchTask(t)
	case TaskRemoving:
		r.removeTask(t)
	}
}

// prepareTask brings the image to the hosts.
func (r *round) prepareTask(t *Task) {
	if t.StoppedBy != "" {
		r.failTask(t, fault.Interrupted, "stopped by %s before it began", t.StoppedBy)
		return
	}
	a := Action{Kind: ActPrepare, Fleet: t.Fleet.ID}
	switch res := r.f.Results[a.Key()]; {
	case res.Done:
		t.Fleet.Prepared, t.Phase, t.Waits = true, TaskRunning, ""
	case res.Final, res.Tries >= prepareTries && !errors.Is(res.Err, fleet.ErrUnavailable):
		r.failTask(t, fault.Failed, "prepare its image: %v", res.Err)
	default:
		r.act(a)
		t.Waits = "its image to be in place"
		if res.Err != nil {
			t.Waits += fmt.Sprintf(", which failed and is tried again: %v", res.Err)
		}
	}
}

// watchTask boots the node, once, and waits for the end of its command.
func (r *round) watchTask(t *Task) {
	n := t.Fleet.Nodes[0]
	fact := r.f.Nodes[n.Name]
	boot := Action{Kind: ActBoot, Fleet: t.Fleet.ID, Node: n.Name}
	res := r.f.Results[boot.Key()]
	if fact.Presence == fleet.Present || fact.Presence == fleet.Gone {
		r.startedTask(t, n, fact)
	}
	switch {
	case fact.Presence == fleet.Gone:
		r.finishTask(t, fact.Exit)
	case fact.Presence != fleet.Present && r.lost(t.Fleet, n.Host):
		r.failTask(t, fault.Failed, "%s, and nobody knows how the command ended", r.whyLost(n.Host))
	case n.Booted && fact.Absent:
		r.failTask(t, fault.Failed, "its node is gone, and nobody knows how the command ended")
	case !n.Booted && res.Final && fact.Absent:
		r.failTask(t, fault.CodeOf(res.Err), "boot its node: %v", res.Err)
	case t.StoppedBy != "":
		r.failTask(t, fault.Interrupted, "stopped by %s", t.StoppedBy)
	case t.Timeout > 0 && n.Booted && r.f.Now.Sub(t.Started) >= t.Timeout:
		r.failTask(t, fault.Failed, "it did not end within %s", human.Span(t.Timeout))
	case !n.Booted && res.Final:
		t.Waits = fmt.Sprintf("word of its node, whose boot failed: %v", res.Err)
	case !n.Booted:
		r.act(boot)
		t.Waits = "its node to boot"
		if res.Err != nil {
			t.Waits += fmt.Sprintf(", which failed and is tried again: %v", res.Err)
		}
	}
}

// startedTask takes note of what the driver says of a node that was booted.
func (r *round) startedTask(t *Task, n *Node, fact NodeFact) {
	n.Host, n.PID = fact.Host, fact.PID
	if n.Booted {
		return
	}
	n.Booted, t.Waits, t.Started = true, "", fact.Since
	if t.Started.IsZero() {
		t.Started = r.f.Now
	}
	r.sayTask("started", t, "%s runs in %s", t.name(), t.Node)
}

// finishTask records how the command ended. An end that nobody saw is a failure: it may have done its work, or half of it.
func (r *round) finishTask(t *Task, exit *fleet.Exit) {
	if exit == nil {
		r.failTask(t, fault.Failed, "it ended, and nobody knows how: its machine was restarted, or its node was killed")
		return
	}
	if t.StoppedBy != "" {
		r.failTask(t, fault.Interrupted, "stopped by %s", t.StoppedBy)
		return
	}
	t.Code, t.Reason, t.Finished, t.Phase = exit.Code, exit.Reason, exit.At, TaskRemoving
	if t.Finished.IsZero() {
		t.Finished = r.f.Now
	}
}

// failTask ends a task that did not come to an end of its own.
func (r *round) failTask(t *Task, code fault.Code, format string, args ...any) {
	t.Failure = &Failure{Code: code, Message: fmt.Sprintf("%s: %s", t.name(), fmt.Sprintf(format, args...))}
	t.Finished, t.Phase = r.f.Now, TaskRemoving
}

// removeTask keeps the end of the output and removes the node. Where somebody reads the output it waits for that, a while.
func (r *round) removeTask(t *Task) {
	n := t.Fleet.Nodes[0]
	fact := r.f.Nodes[n.Name]
	t.Waits = "its node to be removed"
	if n.Booted && !n.Tailed {
		a := Action{Kind: ActTail, Fleet: t.Fleet.ID, Node: n.Name}
		res := r.f.Results[a.Key()]
		if !res.Done && res.Err == nil {
			r.act(a)
			return
		}
		n.Tailed, t.Lines = true, res.Lines
	}
	if left := r.f.Now.Sub(t.Finished); t.Attached && t.Failure == nil && !fact.Read && (left < readWithin || fact.Reading && left < readLong) {
		t.Waits = "its output to be read"
		return
	}
	for _, a := range []Action{
		{Kind: ActRemove, Fleet: t.Fleet.ID, Node: n.Name, Grace: r.s.configOf(t.Fleet).Fleet.Stop.Grace.Std()},
		{Kind: ActDestroy, Fleet: t.Fleet.ID},
	} {
		if !t.Fleet.Prepared {
			break // nothing was asked of the driver yet
		}
		if res := r.f.Results[a.Key()]; !res.Done && !r.onlyLost(t.Fleet, res.Err) {
			r.act(a)
			return
		}
	}
	r.endTask(t)
}

const (
	// readWithin is how long the node of a task that ended waits for who said that he would read its output.
	readWithin = 10 * time.Second
	// readLong is how long it waits for one who reads.
	readLong = 5 * time.Minute
)

// endTask closes a task's record.
func (r *round) endTask(t *Task) {
	t.Ended, t.Waits, t.Phase, t.Fleet = r.f.Now, "", TaskDone, nil
	r.records.tasks = append(r.records.tasks, t)
	if t.Job != "" {
		r.noteRun(t)
	}
	took := ""
	if !t.Started.IsZero() {
		took = ", after " + human.Span(t.Finished.Sub(t.Started))
	}
	switch {
	case t.Failure != nil:
		r.sayTask("failed", t, "%s%s", t.Failure.Message, took)
	case t.Reason != "":
		r.sayTask("done", t, "%s ended with exit code %d (%s)%s", t.name(), t.Code, t.Reason, took)
	default:
		r.sayTask("done", t, "%s ended with exit code %d%s", t.name(), t.Code, took)
	}
}

// stopTasks ends all tasks under way.
func (r *round) stopTasks(by string) {
	for _, t := range r.s.Tasks {
		if t.Ended.IsZero() && t.StoppedBy == "" {
			t.StoppedBy = by
		}
	}
}
