package console

import (
	"io"
	"net/http"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/orchestrator"
)

func (s *Server) runTask(w http.ResponseWriter, r *http.Request) error {
	var in api.TaskRequest
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	who, _ := by(r, in.By)
	t, err := s.Orchestrator.RunTask(r.Context(), orchestrator.TaskRequest{
		Key: keyOf(r), By: who, Command: in.Command, Job: in.Job, Release: in.Release, Role: in.Role, Image: in.Image,
		Attached: in.Attached, DryRun: in.DryRun,
	})
	if err != nil {
		return err
	}
	return answer(w, taskOf(t, s.Now()))
}

func (s *Server) tasks(w http.ResponseWriter, r *http.Request) error {
	list, err := s.Orchestrator.Tasks(r.Context(), keyOf(r), r.URL.Query().Get("job"))
	if err != nil {
		return err
	}
	out := api.Tasks{Tasks: []api.Task{}}
	for _, t := range list {
		out.Tasks = append(out.Tasks, taskOf(t, s.Now()))
	}
	return answer(w, out)
}

// task answers at once, or with wait when the task has ended or the time is over.
func (s *Server) task(w http.ResponseWriter, r *http.Request) error {
	var t orchestrator.Task
	if err := s.await(r, func() (over bool, err error) {
		t, err = s.Orchestrator.Task(r.Context(), keyOf(r), r.PathValue("id"))
		return !t.Ended.IsZero(), err
	}); err != nil {
		return err
	}
	return answer(w, taskOf(t, s.Now()))
}

func (s *Server) stopTask(w http.ResponseWriter, r *http.Request) error {
	var in api.StopTask
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	who, _ := by(r, in.By)
	if err := s.Orchestrator.StopTask(r.Context(), keyOf(r), r.PathValue("id"), who); err != nil {
		return err
	}
	return answer(w, struct{}{})
}

// taskOutput streams what a task prints until its end.
func (s *Server) taskOutput(w http.ResponseWriter, r *http.Request) error {
	opts, err := logOptions(r)
	if err != nil {
		return err
	}
	out := newStream(w, "text/plain; charset=utf-8")
	lines, err := s.Orchestrator.TaskOutput(r.Context(), keyOf(r), r.PathValue("id"), opts.Since)
	if err != nil {
		return err
	}
	defer lines.Close()
	out.flush()
	if _, err := io.Copy(out, lines); err != nil {
		return out.fail(err)
	}
	return nil
}

func (s *Server) missingFiles(w http.ResponseWriter, r *http.Request) error {
	var in api.Files
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	missing, err := s.Orchestrator.MissingFiles(r.Context(), in.Digests)
	if err != nil {
		return err
	}
	return answer(w, api.Files{Digests: append([]string{}, missing...)})
}

func (s *Server) putFile(w http.ResponseWriter, r *http.Request) error {
	if err := s.Orchestrator.PutFile(r.Context(), r.PathValue("digest"), r.Body); err != nil {
		return err
	}
	return answer(w, struct{}{})
}

func taskOf(t orchestrator.Task, now time.Time) api.Task {
	out := api.Task{
		ID: t.ID, Job: t.Job, Scheduled: t.Scheduled, Operation: t.Operation, Purpose: t.Purpose, By: t.By, At: t.At, Release: t.Release,
		Role: t.Role, Image: t.Image, Command: t.Command, Node: t.Node, State: string(t.Phase), Waits: t.Waits, Started: t.Started,
		Finished: t.Finished, ExitCode: t.Code, Reason: t.Reason, Failure: failureOf(t.Failure), Lines: t.Lines, Ended: t.Ended,
	}
	switch {
	case t.Started.IsZero():
	case t.Finished.IsZero():
		out.Seconds = now.Sub(t.Started).Seconds()
	default:
		out.Seconds = t.Finished.Sub(t.Started).Seconds()
	}
	return out
}

func jobsOf(list []orchestrator.JobStatus) []api.Job {
	var out []api.Job
	for _, j := range list {
		out = append(out, api.Job{
			Name: j.Name, Command: j.Job.Cmd, Schedule: j.Job.Schedule.String(), Next: j.Next, Running: j.Runs, Last: j.State.Last,
			LastAt: j.State.LastAt, Seconds: j.State.Took, ExitCode: j.State.Code, Failure: j.State.Failure, Skipped: j.State.Skipped,
		})
	}
	return out
}
