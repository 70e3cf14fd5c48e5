package orchestrator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// asked is a request with what could not be decided purely: images looked up, secrets read, drivers chosen.
type asked struct {
	Request
	roles  map[string]askedRole // of a launch: all; of a rollback: those that have a fleet now
	other  askedRole            // of a rollback: for the rest
	inward string               // the machine's address for nodes; "": there are no internal addresses
	first  int                  // the port of slot 0 there
}

// askedRole is that for one role.
type askedRole struct {
	image       string
	port        int
	driver      string
	scope       string
	previewHash string
	bakedAt     time.Time
}

// of is what was found out for a role.
func (a asked) of(role string) askedRole {
	if found, known := a.roles[role]; known {
		return found
	}
	return a.other
}

// begin starts the operation that is asked for, or attaches to the same one under way. Like next it changes only the
// copy of the state that it returns.
func begin(s *State, f Facts, req asked) (*State, *Operation, []Event, error) {
	r := &round{s: s.clone(), f: f}
	op, err := r.begin(req)
	if err == nil && op.Number > s.NextOperation {
		err = cmp.Or(r.frozen(op), r.moved(s, op, req.Plan))
	}
	return r.s, op, r.events, err
}

func (r *round) begin(req asked) (*Operation, error) {
	switch req.Kind {
	case KindScale:
		return r.beginScale(req)
	case KindReplace:
		return r.beginReplace(req)
	case KindQuarantine:
		return r.beginQuarantine(req)
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
	return rel.runs(req.Image, req.images()) && sameConfig(&rel.Config, req.Config) && slices.Equal(rel.Files, req.Files)
}

// images are those of all roles, nil for an app without roles.
func (a asked) images() map[string]string {
	if a.Config == nil || len(a.Config.Roles) == 0 {
		return nil
	}
	images := map[string]string{}
	for role, part := range a.roles {
		images[role] = part.image
	}
	return images
}

func sameConfig(a, b *config.App) bool { return sameJSON(a, b) }

// sameJSON says whether two values are written alike.
func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// sinceTime is when something began that may be under way for days.
const sinceTime = "2006-01-02 15:04:05 MST"

func busy(key Key, op *Operation) error {
	f := fault.New(fault.Busy, "%s: %s of %s by %s is under way since %s (%s)", key, op.Kind,
		orText(op.Release, "all fleets"), op.By, op.At.Format(sinceTime), op.ID).
		WithHint("wait for it with --wait · follow it with: release status · end it with: release abort")
	f.Cause = errUnderWay
	return f
}

// operation mints an operation and takes what is needed to undo and to account for it.
func (r *round) operation(req asked, phase Phase) *Operation {
	r.s.NextOperation++
	op := &Operation{
		ID: fmt.Sprintf("op-%d", r.s.NextOperation), Number: r.s.NextOperation, Kind: req.Kind, By: req.By, Origin: req.Origin, At: r.f.Now,
		Phase: phase, Force: req.Force, KeepFailed: req.KeepFailed, LedgerFrom: r.f.Ledger, Before: map[string]int{},
		Followed: r.s.Follows,
	}
	if req.By != byItself {
		op.Asked = req.arguments()
	}
	for _, fl := range r.s.Fleets {
		if fl.Weight > 0 && !fl.Accessory {
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
	if err := r.address(req); err != nil {
		return nil, err
	}
	rel := r.record(req)
	r.s.forgetSizes(req.Config)
	r.s.Releases = append(r.s.Releases, rel)
	if r.s.serving() == nil {
		r.s.follow(rel)
	}
	op := r.operation(req, PhasePrepare)
	op.Release = rel.ID
	r.s.moves(op, r.fresh(rel, req))
	if req.Kind == KindUp {
		op.Steps = r.steps(rel, 0, 0)
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
		if old != rel && old.State == ReleaseRolledBack && old.runs(rel.Image, rel.Images) && sameConfig(&old.Config, &rel.Config) {
			return old
		}
	}
	return nil
}

// follow makes the route that of a release.
func (s *State) follow(rel *Release) {
	s.Follows, s.Config, s.PreviewHash, s.PreviewHashes = rel.ID, rel.Config, rel.PreviewHash, rel.PreviewHashes
}

// record mints a release.
func (r *round) record(req asked) *Release {
	r.s.NextRelease++
	lead := req.of(config.DefaultRole)
	rel := &Release{
		ID: fmt.Sprintf("r%d", r.s.NextRelease), Image: req.Image, Port: lead.port, Config: *req.Config, By: req.By,
		At: r.f.Now, BakedAt: lead.bakedAt, State: ReleaseNew, PreviewHash: lead.previewHash, Images: req.images(), Files: req.Files,
	}
	if len(req.Config.Roles) == 0 {
		return rel
	}
	rel.Ports, rel.PreviewHashes = map[string]int{}, map[string]string{}
	for role, part := range req.roles {
		rel.Ports[role] = part.port
		if part.previewHash != "" {
			rel.PreviewHashes[role] = part.previewHash
		}
	}
	return rel
}

// fresh mints the fleets of a new release: one for each role, but for accessories that stay as they are.
func (r *round) fresh(rel *Release, req asked) []*Fleet {
	rel.Incarnations++
	var fleets []*Fleet
	for _, role := range rel.Config.RoleNames() {
		part := req.of(role)
		if old := r.s.accessory(role); old != nil && rel.Config.Role(role).Accessory && r.s.sameAccessory(old, &rel.Config, part.image) {
			continue
		}
		fleets = append(fleets, r.incarnate(rel, role, part))
	}
	return fleets
}

// unchanged finds the release that a launch or up would only repeat: serving everything, or ready and waiting.
func (r *round) unchanged(req asked) *Operation {
	for _, fl := range r.s.Fleets {
		rel := r.s.release(fl.ID.Release)
		if rel == nil || fl.Accessory || !rel.same(req) {
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

// incarnate mints a new fleet for a role of a release, with the number that the caller has minted.
func (r *round) incarnate(rel *Release, role string, on askedRole) *Fleet {
	r.s.Destroyed = false
	fl := &Fleet{
		ID:     fleet.FleetID{App: r.s.Key.App, Env: r.s.Key.Env, Role: role, Release: rel.ID, Incarnation: rel.Incarnations},
		Driver: on.driver, Scope: on.scope, Image: rel.imageOf(role), Port: rel.portOf(role), State: FleetLaunching, Since: r.f.Now,
		Accessory: rel.Config.Role(role).Accessory,
	}
	r.s.Fleets = append(r.s.Fleets, fl)
	r.recordVolumes(fl)
	return fl
}

// steps are the stops from the present share to another, or with 0 those of the release on to 100. No way leads past a gate:
// steps that need an approval and have none are stops in any case. The first release of all goes straight to 100.
func (r *round) steps(rel *Release, present, target int) []Step {
	if r.s.serving() == nil {
		return []Step{{Percent: 100}}
	}
	var steps []Step
	for _, st := range rel.Config.Cutover.Steps {
		gate := st.Approve != "" && !rel.approved(st.Approve, st.Percent) && (target == 0 || st.Percent < target && present < target)
		if gate || target == 0 && st.Percent > present {
			steps = append(steps, Step{Percent: max(st.Percent, present), Hold: st.Hold.Std(), Approve: st.Approve, OneWay: st.OneWay})
		}
	}
	last := cmp.Or(target, 100)
	if len(steps) == 0 || steps[len(steps)-1].Percent != last {
		steps = append(steps, Step{Percent: last})
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
	shared := slices.ContainsFunc(r.s.members(rel), func(fl *Fleet) bool {
		role := r.s.roleOf(fl)
		return !role.Accessory && !r.s.awaitsVolume(fl) && (role.Routed() || role.Start == config.StartShare)
	})
	if percent > 0 && percent < 100 && !shared {
		return nil, fault.New(fault.Denied, "cut over %s to %d %% of %s: its volume has one writer, so it has all of the traffic or none", r.s.Key, percent, rel.ID).
			WithHint("leave --percent out")
	}
	if err := r.fits("cut over", rel.ID, rel.Config.Schema, r.s.version()); err != nil {
		return nil, err
	}
	op := r.operation(req, PhaseShift)
	op.Release, op.Percent = rel.ID, fl.Weight
	r.s.moves(op, r.s.members(rel))
	op.Steps = r.steps(rel, fl.Weight, percent)
	r.sayOp("begin", op, "cutover of %s to %d %% by %s", rel.ID, op.Steps[len(op.Steps)-1].Percent, req.By)
	return op, nil
}

// candidate finds the fleet to cut over to: of the release named, else of the newest release that is launched.
func (r *round) candidate(id string) (*Release, *Fleet, error) {
	if id != "" {
		rel := r.s.release(id)
		if rel == nil {
			return nil, nil, r.s.noRelease(id)
		}
		if fl := r.s.launched(rel); fl != nil {
			return rel, fl, nil
		}
		return nil, nil, fault.New(fault.NotFound, "cut over %s to %s: the release has no running fleet", r.s.Key, id).
			WithHint("boot it again with: release rollback --to %s", id)
	}
	for _, rel := range slices.Backward(r.s.Releases) {
		if fl := r.s.launched(rel); fl != nil && rel.State == ReleaseNew {
			return rel, fl, nil
		}
	}
	if fl := r.s.serving(); fl != nil && fl.Weight == 100 {
		return r.s.release(fl.ID.Release), fl, nil
	}
	return nil, nil, fault.New(fault.NotFound, "cut over %s: no release is launched", r.s.Key).
		WithHint("launch one with: release launch")
}

// launched is the fleet that leads a release all of whose roles are launched, or nil.
func (s *State) launched(rel *Release) *Fleet {
	members := s.members(rel)
	if len(members) == 0 || len(s.lacking(rel)) > 0 {
		return nil
	}
	if slices.ContainsFunc(members, func(fl *Fleet) bool { return fl.State == FleetLaunching }) {
		return nil
	}
	return s.lead(members)
}

func (s *State) noRelease(id string) error {
	var ids []string
	for _, rel := range slices.Backward(s.Releases) {
		if ids = append(ids, rel.ID); len(ids) == 5 {
			break
		}
	}
	return fault.New(fault.NotFound, "%s has no release %q", s.Key, id).
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
		return under, r.abortBy(under, req.By, req.Force)
	}
	rel, err := r.previous(req.Release)
	if err != nil {
		return nil, err
	}
	if fl := r.s.fleetOf(rel.ID); fl != nil && fl.Weight == 100 {
		return r.already(req, rel.ID, 100), nil
	}
	if err := r.fits("roll back", rel.ID, rel.Config.Schema, r.s.version()); err != nil {
		return nil, err
	}
	if err := r.ungated(rel); err != nil {
		return nil, err
	}
	phase := PhaseShift
	if r.mustBoot(rel) {
		phase = PhasePrepare
	}
	op := r.operation(req, phase)
	op.Release = rel.ID
	r.s.moves(op, r.again(rel, req))
	op.Percent = r.s.fleet(op.Fleet).Weight
	op.Steps = []Step{{Percent: 100}}
	r.sayOp("begin", op, "rollback from %s to %s by %s", orText(op.From, "nothing"), rel.ID, req.By)
	return op, nil
}

// mustBoot says whether a rollback cannot route back at once: a role that is routed has no fleet. Of a role without a route
// the old nodes are ended when a release completes; they are booted after the traffic is back.
func (r *round) mustBoot(rel *Release) bool {
	lacking := r.s.lacking(rel)
	needed := func(role string) bool { return rel.Config.Role(role).Routed() || rel.Config.Role(role).Accessory }
	return slices.ContainsFunc(lacking, needed) || len(lacking) > 0 && len(routedRoles(&rel.Config)) == 0
}

// again is the fleets of an earlier release, those that are gone minted anew.
func (r *round) again(rel *Release, req asked) []*Fleet {
	lacking := r.s.lacking(rel)
	if len(lacking) > 0 {
		rel.Incarnations++
	}
	var fleets []*Fleet
	for _, role := range rel.Config.RoleNames() {
		switch fl := r.s.fleetIn(rel.ID, role); {
		case slices.Contains(lacking, role):
			fleets = append(fleets, r.incarnate(rel, role, req.of(role)))
		case fl != nil && !fl.Accessory:
			fleets = append(fleets, fl)
		}
	}
	return fleets
}

// previous is the release to roll back to: the one named, else the last that completed before the serving one and was
// neither aborted nor rolled back.
func (r *round) previous(id string) (*Release, error) {
	if id != "" {
		if rel := r.s.release(id); rel != nil {
			return rel, nil
		}
		return nil, r.s.noRelease(id)
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
		under.Volumes = under.Volumes || req.Volumes
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
	if len(r.s.Fleets)+len(r.s.Tasks) == 0 && r.f.Found.Fleets == 0 && (!req.Volumes || len(r.s.Volumes) == 0) {
		return r.already(req, "", 0), nil
	}
	r.s.leaveFound()
	r.stopTasks(req.By + ", who destroys the app")
	op := r.operation(req, PhaseShoot)
	op.Volumes = req.Volumes
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
