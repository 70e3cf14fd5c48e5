package console

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator"
)

func (s *Server) agent(w http.ResponseWriter, r *http.Request) error {
	a := s.Agent
	if s.Standing != nil {
		s.Standing(r.Context(), &a)
	}
	return answer(w, a)
}

// leading answers by h while the agent leads. Another one would answer with less than is true, or change what is not its own.
func (s *Server) leading(h handler) handler {
	if s.Leads == nil {
		return h
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.Leads(r.Context()); err != nil {
			return err
		}
		return h(w, r)
	}
}

func (s *Server) forget(w http.ResponseWriter, r *http.Request) error {
	var in api.Forget
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if s.Forget == nil {
		return fault.New(fault.Unsupported, "forget edge %s: this agent knows of no other router than its own", in.Edge)
	}
	if err := s.Forget(r.Context(), in); err != nil {
		return err
	}
	return answer(w, struct{}{})
}

func (s *Server) forgetHost(w http.ResponseWriter, r *http.Request) error {
	var in api.ForgetHost
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if s.ForgetHost == nil {
		return fault.New(fault.Unsupported, "forget host %s: this agent knows of no other machine than its own", in.Host)
	}
	gone, err := s.ForgetHost(r.Context(), in)
	if err != nil {
		return err
	}
	return answer(w, gone)
}

func (s *Server) stop(w http.ResponseWriter, _ *http.Request) error {
	s.Stop()
	return answer(w, struct{}{})
}

func (s *Server) apps(w http.ResponseWriter, _ *http.Request) error {
	apps := []api.App{}
	for _, k := range s.Orchestrator.Keys() {
		apps = append(apps, api.App{App: k.App, Env: k.Env})
	}
	return answer(w, api.Apps{Apps: apps})
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) error {
	st, err := s.Orchestrator.Status(r.Context(), keyOf(r))
	if err != nil {
		return err
	}
	return answer(w, statusOf(st, s.Now()))
}

func (s *Server) previous(w http.ResponseWriter, r *http.Request) error {
	kept, err := s.Orchestrator.Previous(r.Context(), keyOf(r))
	if err != nil {
		return err
	}
	out := api.Previous{Nodes: []api.PreviousNode{}}
	for _, t := range kept {
		out.Nodes = append(out.Nodes, api.PreviousNode{
			ID: t.ID.Node, Release: t.ID.Fleet.Release, Fleet: t.ID.Fleet.String(), At: t.At, Bytes: t.Bytes,
		})
	}
	return answer(w, out)
}

func (s *Server) submit(w http.ResponseWriter, r *http.Request) error {
	var in api.Request
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	key := keyOf(r)
	req, err := requestOf(key, in)
	if err != nil {
		return err
	}
	req.By, req.Origin = by(r, in.By)
	seq := s.eventSeq(r.Context(), key)
	op, err := s.Orchestrator.Submit(r.Context(), req)
	if err != nil {
		return err
	}
	return answer(w, api.Submitted{Operation: operationOf(op, s.Now()), EventSeq: seq})
}

// eventSeq is the number of the app's last event; 0 for an app that is not known yet.
func (s *Server) eventSeq(ctx context.Context, key orchestrator.Key) uint64 {
	st, err := s.Orchestrator.Status(ctx, key)
	if err != nil {
		return 0
	}
	return st.State.EventSeq
}

func requestOf(key orchestrator.Key, in api.Request) (orchestrator.Request, error) {
	req := orchestrator.Request{
		Kind: orchestrator.Kind(in.Kind), Key: key, By: in.By, Image: in.Image, Images: in.Images, Release: in.Release,
		Percent: in.Percent, Size: in.Size, Role: in.Role, Nodes: in.Nodes, Force: in.Force, KeepFailed: in.KeepFailed,
		For: lengthOf(in.For), End: in.End, Volumes: in.Volumes,
		DryRun: in.DryRun, Wait: in.Wait,
	}
	if len(in.Plan) > 0 {
		if err := json.Unmarshal(in.Plan, &req.Plan); err != nil {
			return req, fault.New(fault.Invalid, "read the plan of %s: %w", key, err)
		}
	}
	for _, f := range in.Files {
		req.Files = append(req.Files, orchestrator.HookFile(f))
	}
	if len(in.Config) > 0 {
		if err := json.Unmarshal(in.Config, &req.Config); err != nil {
			return req, fault.New(fault.Invalid, "read the configuration of %s: %w", key, err)
		}
	}
	return req, req.Check()
}

// lengthOf is a number of seconds as a length of time; where that has no such number, the longest or the shortest there is.
func lengthOf(seconds float64) time.Duration {
	switch most := float64(math.MaxInt64) / float64(time.Second); {
	case seconds >= most:
		return math.MaxInt64
	case seconds <= -most:
		return math.MinInt64
	}
	return time.Duration(seconds * float64(time.Second))
}

func (s *Server) history(w http.ResponseWriter, r *http.Request) error {
	ops, err := s.Orchestrator.History(r.Context(), keyOf(r))
	if err != nil {
		return err
	}
	out := api.History{Operations: []api.Operation{}}
	for _, op := range ops {
		out.Operations = append(out.Operations, operationOf(op, s.Now()))
	}
	return answer(w, out)
}

// operation answers at once, or with wait when the operation has ended, waits for a person, or the time is over.
func (s *Server) operation(w http.ResponseWriter, r *http.Request) error {
	var op orchestrator.Operation
	if err := s.await(r, func() (over bool, err error) {
		op, err = s.Orchestrator.Operation(r.Context(), keyOf(r), r.PathValue("id"))
		return !op.Ended.IsZero() || op.Paused || op.Gate != "", err
	}); err != nil {
		return err
	}
	return answer(w, operationOf(op, s.Now()))
}

// await looks again at each change until what is looked at is over, or the request's wait is.
func (s *Server) await(r *http.Request, look func() (over bool, err error)) error {
	wait, err := waitOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	for {
		changed := s.Orchestrator.Changed()
		if over, err := look(); over || err != nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// maxWait bounds a long poll.
const maxWait = 5 * time.Minute

func waitOf(r *http.Request) (time.Duration, error) {
	text := r.URL.Query().Get("wait")
	if text == "" {
		return 0, nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || seconds < 0 {
		return 0, fault.New(fault.Invalid, "read wait=%q: not a number of seconds", text)
	}
	return min(time.Duration(seconds*float64(time.Second)), maxWait), nil
}
