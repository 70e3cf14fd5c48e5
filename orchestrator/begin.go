package orchestrator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// asked is a request with what could not be decided purely: the image looked up, secrets read, a driver chosen.
type asked struct {
	Request
	port        int
	driver      string
	scope       string
	previewHash string
}

// begin starts the operation that is asked for, or attaches to the same one under way. Like next it changes only the
// copy of the state that it returns.
func begin(s *State, f Facts, req asked) (*State, *Operation, []Event, error) {
	r := &round{s: s.clone(), f: f}
	op, err := r.begin(req)
	return r.s, op, r.events, err
}

func (r *round) begin(req asked) (*Operation, error) {
	switch req.Kind {
	case KindScale:
		return r.beginScale(req)
	case KindReplace:
		return r.beginReplace(req)
	case KindDestroy:
		return r.beginDestroy(req)
	case KindRollback:
		return r.beginRollback(req)
	case KindContract:
		return r.beginContract(req)
	}
	if under := r.s.exclusive(); under != nil {
		if r.same(under, req) {
			return under, nil
		}
		return nil, busy(r.s.Key, under)
	}
	if req.Kind == KindCutover {
		return r.beginCutover(req)
	}
	return r.beginLaunch(req)
}

// same says whether the request asks for what is under way already.
func (r *round) same(op *Operation, req asked) bool {
	if op.Kind != req.Kind {
		return false
	}
	rel := r.s.release(op.Release)
	if req.Kind == KindCutover {
		last := op.Steps[len(op.Steps)-1].Percent
		return (req.Release == "" || req.Release == op.Release) && (req.Percent == last || req.Percent == 0 && last == 100)
	}
	return rel != nil && rel.same(req)
}

// same says whether a launch would make such a release again.
func (rel *Release) same(req asked) bool {
	return rel.Image == req.Image && sameConfig(&rel.Config, req.Config) && slices.Equal(rel.Files, req.Files)
}

func sameConfig(a, b *config.App) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

func busy(key Key, op *Operation) error {
	return fault.New(fault.Busy, "%s: %s of %s by %s is under way since %s (%s)", key, op.Kind,
		orText(op.Release, "all fleets"), op.By, op.At.Format("15:04:05"), op.ID).
		WithHint("follow it with: release status · end it with: release abort")
}

// operation mints an operation and takes what is needed to undo and to account for it.
func (r *round) operation(req asked, phase Phase) *Operation {
	r.s.NextOperation++
	op := &Operation{
		ID: fmt.Sprintf("op-%d", r.s.NextOperation), Number: r.s.NextOperation, Kind: req.Kind, By: req.By, At: r.f.Now,
		Phase: phase, Force: req.Force, KeepFailed: req.KeepFailed, LedgerFrom: r.f.Ledger, Before: map[string]int{},
		Followed: r.s.Follows,
	}
	for _, fl := range r.s.Fleets {
		if fl.Weight > 0 {
			op.Before[fl.ID.String()] = fl.Weight
		}
	}
	if serving := r.s.serving(); serving != nil {
		op.From = serving.ID.Release
	}
	r.s.Operations = append(r.s.Operations, op)
	return op
}

// already is an operation that is done before it began, since what is asked for holds.
func (r *round) already(req asked, release string, percent int) *Operation {
	op := &Operation{Kind: req.Kind, By: req.By, At: r.f.Now, Phase: PhaseDone, Ended: r.f.Now, Release: release,
		Percent: percent, From: release}
	return op
}

func (r *round) beginLaunch(req asked) (*Operation, error) {
	if done := r.unchanged(req); done != nil {
		return done, nil
	}
	if err := r.launchFits(req); err != nil {
		return nil, err
	}
	for _, fl := range r.s.Fleets {
		if (!fl.HadWeight || fl.Kept) && fl.State != FleetShooting {
			r.condemn(fl, "a newer release is launched")
		}
	}
	r.takeFound()
	r.s.NextRelease++
	rel := &Release{
		ID: fmt.Sprintf("r%d", r.s.NextRelease), Image: req.Image, Port: req.port, Config: *req.Config, By: req.By,
		At: r.f.Now, State: ReleaseNew, PreviewHash: req.previewHash, Files: req.Files,
	}
	if req.Config.Fleet.Size != r.s.Config.Fleet.Size {
		r.s.Size = 0 // the file has another size than before: it holds again
	}
	r.s.Releases = append(r.s.Releases, rel)
	if r.s.serving() == nil {
		r.s.follow(rel)
	}
	op := r.operation(req, PhasePrepare)
	op.Release, op.Fleet = rel.ID, r.incarnate(rel, req).ID.String()
	if req.Kind == KindUp {
		op.Steps = r.steps(rel, 0)
	}
	r.sayOp("begin", op, "%s of %s by %s", req.Kind, rel.ID, req.By)
	if bad := r.rejected(rel); bad != nil {
		r.sayOp("note", op, "%s has the image and configuration of %s, which was rolled back", rel.ID, bad.ID)
	}
	return op, nil
}

// rejected finds an earlier release that was the same and was rolled back: whoever deploys it again should know.
func (r *round) rejected(rel *Release) *Release {
	for _, old := range slices.Backward(r.s.Releases) {
		if old != rel && old.State == ReleaseRolledBack && old.Image == rel.Image && sameConfig(&old.Config, &rel.Config) {
			return old
		}
	}
	return nil
}

// follow makes the route that of a release.
func (s *State) follow(rel *Release) {
	s.Follows, s.Config, s.PreviewHash = rel.ID, rel.Config, rel.PreviewHash
}

// unchanged finds the release that a launch or up would only repeat: serving everything, or ready and waiting.
func (r *round) unchanged(req asked) *Operation {
	for _, fl := range r.s.Fleets {
		rel := r.s.release(fl.ID.Release)
		if rel == nil || !rel.same(req) {
			continue
		}
		if fl.Weight == 100 {
			return r.already(req, rel.ID, 100)
		}
		if req.Kind == KindLaunch && fl.State == FleetReady {
			return r.already(req, rel.ID, 0)
		}
	}
	return nil
}

// incarnate mints a new fleet for a release.
func (r *round) incarnate(rel *Release, req asked) *Fleet {
	rel.Incarnations++
	fl := &Fleet{
		ID:     fleet.FleetID{App: r.s.Key.App, Env: r.s.Key.Env, Role: Role, Release: rel.ID, Incarnation: rel.Incarnations},
		Driver: req.driver, Scope: req.scope, Image: rel.Image, Port: rel.Port, State: FleetLaunching, Since: r.f.Now,
	}
	r.s.Fleets = append(r.s.Fleets, fl)
	return fl
}

// steps are the stops from the present share on. The first release of all goes straight to 100.
func (r *round) steps(rel *Release, present int) []Step {
	if r.s.serving() == nil {
		return []Step{{Percent: 100}}
	}
	var steps []Step
	for _, st := range rel.Config.Cutover.Steps {
		if st.Percent > present {
			steps = append(steps, Step{Percent: st.Percent, Hold: st.Hold.Std()})
		}
	}
	if len(steps) == 0 || steps[len(steps)-1].Percent != 100 {
		steps = append(steps, Step{Percent: 100})
	}
	return steps
}

func (r *round) beginCutover(req asked) (*Operation, error) {
	rel, fl, err := r.candidate(req.Release)
	if err != nil {
		return nil, err
	}
	percent := req.Percent
	if r.s.serving() == nil {
		percent = 100
	}
	if fl.Weight == 100 || percent != 0 && fl.Weight == percent {
		return r.already(req, rel.ID, fl.Weight), nil
	}
	if err := r.fits("cut over", rel.ID, rel.Config.Schema, r.s.version()); err != nil {
		return nil, err
	}
	op := r.operation(req, PhaseShift)
	op.Release, op.Fleet, op.Percent = rel.ID, fl.ID.String(), fl.Weight
	op.Steps = []Step{{Percent: percent}}
	if percent == 0 {
		op.Steps = r.steps(rel, fl.Weight)
	}
	r.sayOp("begin", op, "cutover of %s to %d %% by %s", rel.ID, op.Steps[len(op.Steps)-1].Percent, req.By)
	return op, nil
}

// candidate finds the fleet to cut over to: of the release named, else of the newest release that is launched.
func (r *round) candidate(id string) (*Release, *Fleet, error) {
	if id != "" {
		rel := r.s.release(id)
		if rel == nil {
			return nil, nil, r.noRelease(id)
		}
		if fl := r.s.fleetOf(id); fl != nil && fl.State != FleetLaunching {
			return rel, fl, nil
		}
		return nil, nil, fault.New(fault.NotFound, "cut over %s to %s: the release has no running fleet", r.s.Key, id).
			WithHint("boot it again with: release rollback --to %s", id)
	}
	for _, rel := range slices.Backward(r.s.Releases) {
		fl := r.s.fleetOf(rel.ID)
		if fl != nil && fl.State != FleetLaunching && rel.State == ReleaseNew {
			return rel, fl, nil
		}
	}
	if fl := r.s.serving(); fl != nil && fl.Weight == 100 {
		return r.s.release(fl.ID.Release), fl, nil
	}
	return nil, nil, fault.New(fault.NotFound, "cut over %s: no release is launched", r.s.Key).
		WithHint("launch one with: release launch")
}

func (r *round) noRelease(id string) error {
	var ids []string
	for _, rel := range slices.Backward(r.s.Releases) {
		if ids = append(ids, rel.ID); len(ids) == 5 {
			break
		}
	}
	return fault.New(fault.NotFound, "%s has no release %q", r.s.Key, id).
		WithHint("the newest are: %s", orText(strings.Join(ids, " "), "none yet"))
}

// beginRollback routes back. While a launch or cutover is under way it steers that one: it is its abort.
func (r *round) beginRollback(req asked) (*Operation, error) {
	if under := r.s.exclusive(); under != nil {
		if under.Kind == KindRollback && (req.Release == "" || req.Release == under.Release) {
			return under, nil
		}
		if under.Kind == KindRollback || under.Kind == KindDestroy || under.Kind == KindContract {
			return nil, busy(r.s.Key, under)
		}
		r.abortBy(under, req.By)
		return under, nil
	}
	rel, err := r.previous(req.Release)
	if err != nil {
		return nil, err
	}
	fl := r.s.fleetOf(rel.ID)
	if fl != nil && fl.Weight == 100 {
		return r.already(req, rel.ID, 100), nil
	}
	if err := r.fits("roll back", rel.ID, rel.Config.Schema, r.s.version()); err != nil {
		return nil, err
	}
	phase := PhaseShift
	if fl == nil {
		fl, phase = r.incarnate(rel, req), PhasePrepare
	}
	op := r.operation(req, phase)
	op.Release, op.Fleet, op.Percent = rel.ID, fl.ID.String(), fl.Weight
	op.Steps = []Step{{Percent: 100}}
	r.sayOp("begin", op, "rollback from %s to %s by %s", orText(op.From, "nothing"), rel.ID, req.By)
	return op, nil
}

// previous is the release to roll back to: the one named, else the last that completed before the serving one and was
// neither aborted nor rolled back.
func (r *round) previous(id string) (*Release, error) {
	if id != "" {
		if rel := r.s.release(id); rel != nil {
			return rel, nil
		}
		return nil, r.noRelease(id)
	}
	except := ""
	if serving := r.s.serving(); serving != nil && serving.Weight == 100 {
		except = serving.ID.Release
	}
	rel := r.s.lastCompleted(except)
	if rel == nil {
		return nil, fault.New(fault.NotFound, "roll %s back: there is no earlier release that was complete", r.s.Key).
			WithHint("release history lists what there was; name one with --to")
	}
	return rel, nil
}

// beginDestroy ends what is under way and shoots everything.
func (r *round) beginDestroy(req asked) (*Operation, error) {
	if under := r.s.exclusive(); under != nil && under.Kind == KindDestroy {
		return under, nil
	}
	for _, op := range r.s.Operations {
		if !op.Auto { // nobody asked for it, so nobody is told that it failed
			op.Failure = &Failure{Code: fault.RolledBack, Message: "aborted: " + req.By + " destroys the app"}
		}
		r.leaveMigration(op, "the app was destroyed")
		r.settle(op)
		op.Phase = PhaseDone
	}
	r.takeFound()
	if len(r.s.Fleets)+len(r.s.Tasks) == 0 && r.f.Found.Fleets == 0 {
		return r.already(req, "", 0), nil
	}
	r.s.leaveFound()
	r.stopTasks(req.By + ", who destroys the app")
	op := r.operation(req, PhaseShoot)
	r.sayOp("begin", op, "destroy by %s", req.By)
	return op, nil
}

func hintOf(err error) string {
	for _, e := range fault.All(err) {
		if e.Hint != "" {
			return e.Hint
		}
	}
	return ""
}
