package orchestrator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/config"
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
	lacks       error // of a rollback: why that driver cannot be used
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
	if req = r.s.asCutover(req); req.Kind == KindCutover {
		return r.beginCutover(req)
	}
	return r.beginLaunch(req)
}

// same says whether the request asks for what is under way already. An up may have begun as the cutover of what was launched.
func (r *round) same(op *Operation, req asked) bool {
	rel, last := r.s.release(op.Release), 0
	if len(op.Steps) > 0 {
		last = op.Steps[len(op.Steps)-1].Percent
	}
	switch {
	case op.Kind == KindCutover && req.Kind == KindUp:
		return rel != nil && rel.same(req) && last == 100
	case op.Kind != req.Kind:
		return false
	case req.Kind == KindCutover:
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
	end := "release abort"
	if op.OneWay != "" {
		end += " --force"
	}
	switch {
	case op.Gate != "":
		f.Message += ", and waits for approval by " + op.Gate
		f = f.WithHint("let it go on with: release approve · end it with: %s", end)
	case op.Paused:
		f = f.WithHint("let it go on with: release resume · end it with: %s", end)
	}
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

// endedByDestroy is why an operation ended when somebody destroys the app.
func (s *State) endedByDestroy(op, destroy *Operation) *Failure {
	what := string(op.Kind)
	if op.Release != "" {
		what += " of " + op.Release
	}
	return &Failure{Code: fault.RolledBack,
		Message: fmt.Sprintf("%s (%s): ended by %s, in which %s destroys %s", what, op.ID, destroy.ID, destroy.By, s.Key),
		Hint:    fmt.Sprintf("ask %s before anything is launched anew · see what is left: release status · then: release up", destroy.By)}
}

// beginDestroy ends what is under way and shoots everything.
func (r *round) beginDestroy(req asked) (*Operation, error) {
	if under := r.s.exclusive(); under != nil && under.Kind == KindDestroy {
		under.Volumes = under.Volumes || req.Volumes
		return under, nil
	}
	ended := slices.Clone(r.s.Operations)
	for _, op := range ended {
		r.leaveMigration(op, "the app was destroyed")
		r.settle(op)
		op.Phase = PhaseDone
	}
	r.takeFound()
	if len(ended)+len(r.s.Fleets)+len(r.s.Tasks) == 0 && r.f.Found.Fleets == 0 && (!req.Volumes || len(r.s.Volumes) == 0) {
		return r.already(req, "", 0), nil
	}
	r.s.leaveFound()
	r.stopTasks(req.By + ", who destroys the app")
	op := r.operation(req, PhaseShoot)
	op.Volumes = req.Volumes
	for _, other := range ended {
		if !other.Auto { // nobody asked for it, so nobody is told that it failed
			other.Failure = r.s.endedByDestroy(other, op)
		}
	}
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
