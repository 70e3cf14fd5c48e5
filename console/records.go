package console

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator"
)

// Archive is what the console asks of the past.
type Archive interface {
	Events(ctx context.Context, k orchestrator.Key, after uint64, limit int) ([]orchestrator.Event, error)
	EventsBefore(ctx context.Context, k orchestrator.Key, at time.Time) (uint64, error)
	History(ctx context.Context, k orchestrator.Key) ([]orchestrator.Operation, error)
	Releases(ctx context.Context, k orchestrator.Key) ([]orchestrator.Release, error)
	Record(ctx context.Context, k orchestrator.Key, release string) (orchestrator.Record, error)
	Diff(ctx context.Context, k orchestrator.Key, from, to string) (a, b orchestrator.Release, changes []orchestrator.ConfigChange, err error)
	Stats(ctx context.Context, k orchestrator.Key, since time.Time) (orchestrator.Stats, error)
}

func (s *Server) releases(w http.ResponseWriter, r *http.Request) error {
	list, err := s.Orchestrator.Releases(r.Context(), keyOf(r))
	if err != nil {
		return err
	}
	out := api.Releases{Releases: []api.Release{}}
	for _, rel := range list {
		out.Releases = append(out.Releases, releaseOf(rel))
	}
	return answer(w, out)
}

func (s *Server) record(w http.ResponseWriter, r *http.Request) error {
	rec, err := s.Orchestrator.Record(r.Context(), keyOf(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	out := api.ReleaseRecord{
		Release: releaseOf(rec.Release), ConfigDigest: rec.ConfigDigest, Operations: []api.Operation{}, Events: []api.Event{},
		Shot: []string{}, Tails: []api.NodeTail{},
	}
	if !rec.Thinned {
		if out.Config, err = json.Marshal(rec.Release.Config); err != nil {
			return err
		}
	}
	for _, op := range rec.Operations {
		out.Operations = append(out.Operations, operationOf(op, s.Now()))
	}
	for _, e := range rec.Events {
		out.Events = append(out.Events, eventOf(e))
		if e.Type == "node.shot" {
			out.Shot = append(out.Shot, e.Node)
		}
	}
	for _, t := range rec.Tails {
		out.Tails = append(out.Tails, api.NodeTail(t))
	}
	return answer(w, out)
}

func (s *Server) diff(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	from, to, changes, err := s.Orchestrator.Diff(r.Context(), keyOf(r), q.Get("from"), q.Get("to"))
	if err != nil {
		return err
	}
	out := api.ReleaseDiff{From: releaseOf(from), To: releaseOf(to), Config: []api.ConfigChange{}}
	for _, c := range changes {
		out.Config = append(out.Config, api.ConfigChange(c))
	}
	return answer(w, out)
}

func (s *Server) stats(w http.ResponseWriter, r *http.Request) error {
	since, err := timeOf(r, "since")
	if err != nil {
		return err
	}
	st, err := s.Orchestrator.Stats(r.Context(), keyOf(r), since)
	if err != nil {
		return err
	}
	spread := func(s orchestrator.Span) api.Spread {
		return api.Spread{Count: s.Count, Median: s.Median.Seconds(), Max: s.Max.Seconds()}
	}
	return answer(w, api.Stats{
		App: st.Key.App, Env: st.Key.Env, Since: st.Since, Until: st.Until, Deployments: st.Deployments, PerDay: st.PerDay,
		LeadTime: spread(st.LeadTime), Changes: st.Changes, Failed: st.Failed, FailureRate: st.FailureRate(), Stopped: st.Stopped,
		Recovery: spread(st.Recovery),
	})
}

// timeOf is a time of the query; zero when it has none.
func timeOf(r *http.Request, name string) (t time.Time, err error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return t, nil
	}
	if t, err = time.Parse(time.RFC3339Nano, text); err != nil {
		return t, fault.New(fault.Invalid, "read %s=%q: not a time such as 2006-01-02T15:04:05Z", name, text)
	}
	return t, nil
}

// ofTypes says whether an entry of the journal is of one of the types: "node.died", or "node" for all that begin so. None is all.
func ofTypes(types []string, is string) bool {
	return len(types) == 0 || slices.ContainsFunc(types, func(t string) bool { return is == t || strings.HasPrefix(is, t+".") })
}

func releaseOf(r orchestrator.Release) api.Release {
	return api.Release{
		ID: r.ID, Image: r.Image, Images: r.Images, By: r.By, At: r.At, BakedAt: r.BakedAt, State: string(r.State), CompletedAt: r.CompletedAt,
		Ledger: ledgerOf(r.Ledger),
	}
}

func originOf(o *orchestrator.Origin) *api.Origin {
	if o == nil {
		return nil
	}
	return &api.Origin{User: o.User, PID: o.PID, Via: o.Via}
}

func argumentsOf(a *orchestrator.Arguments) *api.Arguments {
	if a == nil {
		return nil
	}
	return &api.Arguments{
		Image: a.Image, Release: a.Release, Percent: a.Percent, Size: a.Size, Role: a.Role, Nodes: a.Nodes, Force: a.Force, KeepFailed: a.KeepFailed,
		Config: a.Config, For: a.For.Seconds(), End: a.End, Volumes: a.Volumes,
	}
}
