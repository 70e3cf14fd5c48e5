package console

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/orchestrator"
)

func operationOf(o orchestrator.Operation, now time.Time) api.Operation {
	return costing(o, o.Ledger, now)
}

// costing is an operation that cost so much.
func costing(o orchestrator.Operation, cost orchestrator.Ledger, now time.Time) api.Operation {
	end := o.Ended
	if end.IsZero() {
		end = now
	}
	out := api.Operation{
		ID: o.ID, Kind: string(o.Kind), By: o.By, Origin: originOf(o.Origin), Asked: argumentsOf(o.Asked), At: o.At, Phase: string(o.Phase), Release: o.Release, From: o.From,
		Percent: o.Percent, HoldLeft: o.HoldLeft.Seconds(), Paused: o.Paused, Gate: o.Gate, Waits: o.Waits, WaitsSince: o.WaitsSince,
		Ledger: ledgerOf(cost), Auto: o.Auto, Held: o.Held, OneWay: o.OneWay, Failure: failureOf(o.Failure), Ended: o.Ended, Seconds: end.Sub(o.At).Seconds(),
	}
	if len(o.Steps) > 0 {
		out.Steps = stepsOf(o.Steps)
	}
	for _, a := range o.Approvals {
		out.Approvals = append(out.Approvals, api.Approval(a))
	}
	out.Checks = checksOf(o.Checks)
	for _, v := range o.Verdicts {
		out.Verdicts = append(out.Verdicts, *verdictOf(v))
	}
	return out
}

func verdictOf(v orchestrator.Verdict) *api.Verdict {
	return &api.Verdict{
		At: v.At, Percent: v.Percent, Role: v.Role, Outcome: string(v.Outcome), Aspect: v.Aspect, Reason: v.Reason,
		New: api.VerdictNumbers(v.New), Old: api.VerdictNumbers(v.Old), PWorse: v.PWorse, PNotGood: v.PNotGood, Checks: checksOf(v.Checks),
	}
}

// presentOf is what the comparisons of an operation under way come to: the first that is not good, and if there are several all.
func presentOf(list []orchestrator.Verdict, now time.Time) (first *api.Verdict, all []api.Verdict) {
	for _, v := range list {
		v.At = now
		all = append(all, *verdictOf(v))
	}
	if len(all) == 0 {
		return nil, nil
	}
	first = &all[max(0, slices.IndexFunc(list, func(v orchestrator.Verdict) bool { return !v.Good() }))]
	if len(all) == 1 {
		all = nil
	}
	return first, all
}

func checksOf(list []orchestrator.Check) []api.Answer {
	var out []api.Answer
	for _, c := range list {
		out = append(out, api.Answer{Name: c.Name, Asks: c.Asks, AllowFailure: c.AllowFailure, At: c.At, Outcome: string(c.Outcome), Value: c.Value, Text: c.Text,
			BadFrom: c.BadFrom})
	}
	return out
}

func failureOf(f *orchestrator.Failure) *api.Error {
	if f == nil {
		return nil
	}
	e := &api.Error{Code: string(f.Code), Message: f.Message, Hint: f.Hint}
	for _, tail := range f.Logs {
		e.Logs = append(e.Logs, api.NodeTail(tail))
	}
	return e
}

func eventOf(e orchestrator.Event) api.Event {
	out := api.Event{
		Seq: e.Seq, At: e.At, App: e.App, Env: e.Env, Type: e.Type, Operation: e.Operation, Release: e.Release,
		Fleet: e.Fleet, Node: e.Node, Task: e.Task, Percent: e.Percent, InFlight: e.InFlight, Long: e.Long, Message: e.Message,
	}
	if e.Ledger != nil {
		l := ledgerOf(*e.Ledger)
		out.Ledger = &l
	}
	if e.Verdict != nil {
		out.Verdict = verdictOf(*e.Verdict)
	}
	return out
}

func volumeOf(v *orchestrator.Volume) api.Volume {
	return api.Volume{Role: v.Role, Name: v.Name, Driver: v.Driver, Writer: v.Writer(), Fleet: v.Fleet, Node: v.Node, Since: v.Since}
}

func statusOf(st orchestrator.Status, now time.Time) api.Status {
	s := st.State
	out := api.Status{
		App: s.Key.App, Env: s.Key.Env, Size: s.Asked(), EventSeq: s.EventSeq,
		Routes: []api.Route{}, Fleets: []api.Fleet{},
	}
	for _, r := range st.Routes {
		out.Routes = append(out.Routes, routeOf(r))
	}
	for _, fl := range s.Fleets {
		out.Fleets = append(out.Fleets, fleetOf(fl, st))
	}
	for _, o := range s.Operations {
		wire := costing(*o, o.Cost(st.Counted), now)
		wire.Verdict, wire.Compared = presentOf(s.Present(o), now)
		if o.Kind.Exclusive() {
			out.Operation = &wire
		} else {
			out.Background = append(out.Background, wire)
		}
	}
	for _, v := range s.Volumes {
		out.Volumes = append(out.Volumes, volumeOf(v))
	}
	for _, t := range s.Tasks {
		if t.Ended.IsZero() {
			out.Tasks = append(out.Tasks, taskOf(*t, now))
		}
	}
	out.Jobs = jobsOf(st.Jobs)
	out.Freeze = freezeOf(s.Frozen(now))
	for _, w := range st.Queue {
		out.Queue = append(out.Queue, api.Queued{Kind: string(w.Kind), By: w.By, Since: w.Since, Release: w.Release, Image: w.Image})
	}
	out.Database = databaseOf(s.Database)
	out.Found = FoundOf(st.Found)
	out.Next = next(out, s)
	return out
}

func freezeOf(f *orchestrator.Freeze) *api.Freeze {
	if f == nil {
		return nil
	}
	return &api.Freeze{Reason: f.Reason, By: f.By, At: f.At, Until: f.Until}
}

// FoundOf is what was found without a record, on the wire.
func FoundOf(list []orchestrator.Found) []api.Found {
	var out []api.Found
	for _, f := range list {
		out = append(out, api.Found{Fleet: f.ID.String(), Driver: f.Driver, Nodes: f.Nodes, Listen: f.Listen, Percent: f.Percent})
	}
	return out
}

func routeOf(r orchestrator.RouteStatus) api.Route {
	out := api.Route{Role: r.Role, Internal: r.Internal, Listen: r.Listen, Version: r.Version, Error: r.Error, Weights: []api.Weight{}}
	for release, percent := range r.Weights {
		out.Weights = append(out.Weights, api.Weight{Release: release, Percent: percent})
	}
	slices.SortFunc(out.Weights, func(a, b api.Weight) int { return compareReleases(a.Release, b.Release) })
	return out
}

// compareReleases orders r2 before r10.
func compareReleases(a, b string) int {
	x, _ := strconv.Atoi(strings.TrimPrefix(a, "r"))
	y, _ := strconv.Atoi(strings.TrimPrefix(b, "r"))
	return cmp.Or(cmp.Compare(x, y), cmp.Compare(a, b))
}

func fleetOf(fl *orchestrator.Fleet, st orchestrator.Status) api.Fleet {
	long := st.Long[fl.ID.String()]
	out := api.Fleet{
		ID: fl.ID.String(), Role: fl.ID.Role, Release: fl.ID.Release, Image: fl.Image, Driver: fl.Driver,
		State: string(fl.State), Since: fl.Since, Percent: fl.Weight, WarmLeft: fl.WarmLeft.Seconds(), Reason: fl.Reason,
		InFlight: st.Drained[fl.ID.String()], Long: long, Deadline: fl.Deadline(long), Sessions: fl.SessionsBy,
		Closing: !fl.ClosingAt.IsZero(), Accessory: fl.Accessory, DriftHeld: fl.DriftHeld, Storm: stormOf(fl), Nodes: []api.Node{},
	}
	if r, ok := st.Traffic[fl.ID.String()]; ok {
		out.Rates = &api.Rates{RequestsPerSecond: r.RequestsPerSecond, ErrorRate: r.ErrorRate, P99: r.P99.Seconds()}
	}
	for _, n := range fl.Nodes {
		seen := st.Nodes[n.Name]
		out.Nodes = append(out.Nodes, api.Node{
			ID: n.Name, State: string(n.State), Address: n.Address, PID: n.PID, Host: n.Host, Since: n.Since,
			Present: seen.Present, Health: seen.Health, Reason: n.Reason, InFlight: seen.InFlight,
			Long: seen.Long, Deadline: n.Deadline(seen.Long), Quarantine: quarantineOf(n), Drift: driftOf(n.Drift),
		})
	}
	return out
}

// stormOf is what holds replacing in a fleet, nil for nothing.
func stormOf(fl *orchestrator.Fleet) *api.Storm {
	s := fl.Storm
	if s.Kind == "" {
		return nil
	}
	next := s.NextAt
	if fl.NotBefore.After(next) {
		next = fl.NotBefore
	}
	return &api.Storm{Kind: string(s.Kind), Why: s.Why, Since: s.Since, Vain: s.Vain, NextAt: next}
}

func quarantineOf(n *orchestrator.Node) *api.Quarantine {
	if !n.InQuarantine() {
		return nil
	}
	return &api.Quarantine{By: n.Quarantine.By, Why: n.Quarantine.Why, Left: n.Quarantine.Left.Seconds()}
}
