package console

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/orchestrator"
)

// plan says what a request would do.
func (s *Server) plan(w http.ResponseWriter, r *http.Request) error {
	var in api.Request
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	req, err := requestOf(keyOf(r), in)
	if err != nil {
		return err
	}
	p, err := s.Orchestrator.Plan(r.Context(), req)
	if err != nil {
		return err
	}
	out, err := planOf(p)
	if err != nil {
		return err
	}
	return answer(w, out)
}

func planOf(p orchestrator.Plan) (api.Plan, error) {
	out := api.Plan{
		App: p.Key.App, Env: p.Key.Env, Kind: string(p.Kind), Nothing: p.Nothing, Release: p.Release, From: p.From, Image: p.Image,
		FromImage: p.FromImage, Images: p.Images, Nodes: api.PlannedNodes(p.Nodes), Holds: p.Holds.Seconds(), Usual: p.Usual.Seconds(), UsualOf: p.UsualOf,
		Waits: p.Waits, Freeze: freezeOf(p.Frozen), Fleets: []api.PlannedFleet{}, Changes: []api.PlannedChange{}, Schedule: []api.Moment{},
		Steps: stepsOf(p.Steps), Gaps: p.Gaps, Asks: p.Asks,
	}
	for _, fl := range p.Fleets {
		out.Fleets = append(out.Fleets, plannedFleet(fl))
	}
	for _, c := range p.Changes {
		out.Changes = append(out.Changes, api.PlannedChange(c))
	}
	for _, m := range p.Moments {
		out.Schedule = append(out.Schedule, api.Moment{After: m.After.Seconds(), Type: m.Type, Release: m.Release, Percent: m.Percent, Message: m.Message})
	}
	var err error
	if out.Basis, err = json.Marshal(p.Basis); err != nil {
		return out, fmt.Errorf("encode the plan of %s: %w", p.Key, err)
	}
	return out, nil
}

func plannedFleet(fl *orchestrator.PlannedFleet) api.PlannedFleet {
	out := api.PlannedFleet{
		ID: fl.ID, Role: fl.Role, Release: fl.Release, Driver: fl.Driver, Image: fl.Image, Nodes: fl.Nodes, Now: string(fl.Now), Then: string(fl.Then),
	}
	if fl.Shot {
		out.Shot = &api.PlannedShot{After: fl.ShotAfter.Seconds(), Why: fl.Why, Drain: fl.Drain.Seconds(), LongConnections: fl.Long.Seconds()}
	}
	return out
}

func stepsOf(steps []orchestrator.Step) []api.Step {
	out := []api.Step{}
	for _, st := range steps {
		out = append(out, api.Step{Percent: st.Percent, Hold: st.Hold.Seconds(), Approve: st.Approve, OneWay: st.OneWay})
	}
	return out
}
