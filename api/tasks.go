package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// TaskRequest asks for a command to be run once, in a node of its own.
type TaskRequest struct {
	By       string   `json:"by"`                // "ann@laptop"
	Command  []string `json:"command,omitempty"` // program and arguments
	Job      string   `json:"job,omitempty"`     // instead of Command: a job of the release
	Release  string   `json:"release,omitempty"` // whose image, environment and secrets; "": the one that has the traffic
	Role     string   `json:"role,omitempty"`
	Image    string   `json:"image,omitempty"`    // digest of another image
	Attached bool     `json:"attached,omitempty"` // the caller reads its output: the node stays until that is done
	DryRun   bool     `json:"dry_run,omitempty"`  // say what task it would be, and begin none
}

// Task is a command that runs once in a node of its own, or its record once Ended is set.
type Task struct {
	ID        string    `json:"id"`
	Job       string    `json:"job,omitempty"`
	Scheduled bool      `json:"scheduled,omitempty"`
	Operation string    `json:"operation,omitempty"` // that needs it
	Purpose   string    `json:"purpose,omitempty"`
	By        string    `json:"by"`
	At        time.Time `json:"at"`
	Release   string    `json:"release"`
	Role      string    `json:"role"`
	Image     string    `json:"image"`
	Command   []string  `json:"command"`
	Node      string    `json:"node"`
	State     string    `json:"state"` // preparing image, running, removing, done
	Waits     string    `json:"waits,omitempty"`
	Started   time.Time `json:"started,omitzero"`  // the command
	Finished  time.Time `json:"finished,omitzero"` // the command
	Seconds   float64   `json:"seconds"`           // of the command, so far
	ExitCode  int       `json:"exit_code"`         // once it is finished, and Failure is not set
	Reason    string    `json:"reason,omitempty"`  // of an exit code, if there is one: "out of memory"
	Failure   *Error    `json:"failure,omitempty"` // why it came to no end of its own
	Lines     []string  `json:"lines,omitempty"`   // the last that it printed
	Ended     time.Time `json:"ended,omitzero"`
}

// Done says whether the task has ended.
func (t Task) Done() bool { return !t.Ended.IsZero() }

// Tasks lists tasks, the newest first.
type Tasks struct {
	Tasks []Task `json:"tasks"`
}

// Job is a command with a name.
type Job struct {
	Name     string    `json:"name"`
	Command  []string  `json:"command"`
	Schedule string    `json:"schedule,omitempty"` // "": only by hand
	Next     time.Time `json:"next,omitzero"`      // when the next run is due
	Running  string    `json:"running,omitempty"`  // the task under way
	Last     string    `json:"last,omitempty"`     // the task of the last run
	LastAt   time.Time `json:"last_at,omitzero"`
	Seconds  float64   `json:"seconds,omitempty"` // that it took
	ExitCode int       `json:"exit_code,omitempty"`
	Failure  string    `json:"failure,omitempty"`
	Skipped  int       `json:"skipped,omitempty"` // runs left out since, as one was under way
}

// StopTask ends a task.
type StopTask struct {
	By string `json:"by"`
}

// TaskResult is the result of run.
type TaskResult struct {
	Head
	Task
	DryRun bool `json:"dry_run,omitempty"` // it was not begun
}

// TasksResult is the result of run --list.
type TasksResult struct {
	Head
	Jobs  []Job  `json:"jobs"`
	Tasks []Task `json:"tasks"`
}

// RunTask begins a task. fault.Busy: a run of the job is under way.
func (c *Client) RunTask(ctx context.Context, app App, r TaskRequest) (t Task, err error) {
	return t, c.call(ctx, http.MethodPost, app.path("tasks"), r, &t)
}

// Task reads one task. With wait it answers when the task has ended or the time is over.
func (c *Client) Task(ctx context.Context, app App, id string, wait time.Duration) (t Task, err error) {
	path := app.path("tasks", id) + "?wait=" + strconv.FormatFloat(wait.Seconds(), 'f', 3, 64)
	return t, c.call(ctx, http.MethodGet, path, nil, &t)
}

// Tasks lists the tasks under way and the newest that ended; with a job only its runs.
func (c *Client) Tasks(ctx context.Context, app App, job string) ([]Task, error) {
	var t Tasks
	err := c.call(ctx, http.MethodGet, app.path("tasks")+"?"+url.Values{"job": {job}}.Encode(), nil, &t)
	return t.Tasks, err
}

// StopTask ends a task; one that has ended is left as it is.
func (c *Client) StopTask(ctx context.Context, app App, id, by string) error {
	return c.call(ctx, http.MethodPost, app.path("tasks", id, "stop"), StopTask{By: by}, nil)
}

// TaskOutput streams what a task prints until its end, as lines "time stream text", from a moment on. The caller closes it.
func (c *Client) TaskOutput(ctx context.Context, app App, id string, since time.Time) (io.ReadCloser, error) {
	path := app.path("tasks", id, "output")
	if !since.IsZero() {
		path += "?" + url.Values{"since": {since.Format(time.RFC3339Nano)}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("read the output of %s: %w", id, err)
	}
	resp, err := c.send(req)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// MissingFiles says which files of hooks the agent lacks, by their SHA-256 in hex.
func (c *Client) MissingFiles(ctx context.Context, digests []string) ([]string, error) {
	var f Files
	err := c.call(ctx, http.MethodPost, "/v1/apps/files/missing", Files{Digests: digests}, &f)
	return f.Digests, err
}

// PutFile uploads a file of a hook; the agent checks its digest.
func (c *Client) PutFile(ctx context.Context, digest string, size int64, r io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, base+"/v1/apps/files/"+digest, r)
	if err != nil {
		return fmt.Errorf("upload %s: %w", digest, err)
	}
	req.ContentLength = size
	return c.do(req, nil)
}
