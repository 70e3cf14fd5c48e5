package orchestrator

import (
	"fmt"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// beginContract begins the contract phase of the release that has all the traffic, if no other one needs the old schema any more.
func (r *round) beginContract(req asked) (*Operation, error) {
	if under := r.s.exclusive(); under != nil {
		if under.Kind == KindContract {
			return under, nil
		}
		return nil, busy(r.s.Key, under)
	}
	fl := r.s.serving()
	if fl == nil || fl.Weight < 100 {
		return nil, fault.New(fault.Denied, "contract %s: no release has all the traffic", r.s.Key).WithHint("finish the cutover first: release cutover")
	}
	rel := r.s.release(fl.ID.Release)
	m, due := r.s.contractOf(rel)
	switch {
	case m.phase == "":
		return nil, fault.New(fault.NotFound, "contract %s: %s has no migrations.contract", r.s.Key, fl.ID.Release).
			WithHint("a release that has it must serve first")
	case !due:
		return r.already(req, rel.ID, 100), nil
	}
	if expand := rel.Config.Migrations.Expand; expand != nil && r.s.version() < expand.To {
		return nil, fault.New(fault.Denied, "contract %s: expand of %s to %d did not run here", r.s.Key, rel.ID, expand.To).
			WithHint("launch the release again: expand is part of it")
	}
	if why := r.needed(fl, m.to); why != "" {
		return nil, fault.New(fault.Denied, "contract %s: %s", r.s.Key, why).WithHint("wait until that fleet is shot; release status says when")
	}
	op := r.operation(req, PhaseMigrate)
	op.Release, op.Fleet, op.Percent = rel.ID, fl.ID.String(), 100
	r.sayOp("begin", op, "contract of the database to %d by %s", m.to, req.By)
	r.beginMigration(op, m)
	return op, nil
}

// needed names a fleet of another release that does not run on a version; "" for none.
func (r *round) needed(serving *Fleet, version int) string {
	if r.f.Found.Fleets > 0 {
		return fmt.Sprintf("%s of which no record says on which schema they run are there", human.Count(r.f.Found.Fleets, "fleet"))
	}
	for _, fl := range r.s.Fleets {
		rel := r.s.release(fl.ID.Release)
		switch {
		case fl.Accessory, fl.ID.Release == serving.ID.Release: // an accessory does not read the database: it may be it
		case rel == nil || rel.Config.Schema == nil:
			return fmt.Sprintf("%s is %s, and nobody knows whether it runs on %d", fl.ID.Release, fl.State, version)
		case !rel.Config.Schema.Fits(version):
			return fmt.Sprintf("%s is %s, and runs on schema %d to %d, not on %d", fl.ID.Release, fl.State, rel.Config.Schema.Min,
				rel.Config.Schema.Max, version)
		}
	}
	return ""
}

// contractAlone counts how long the release that serves has been alone and whole, and begins its contract phase when that is as
// long as it asks for; a freeze stops the count. A phase that failed waits for a person.
func (r *round) contractAlone() {
	fl := r.s.serving()
	if fl == nil || fl.Weight < 100 || r.s.exclusive() != nil || !r.s.whole() || r.s.Frozen(r.f.Now) != nil {
		return
	}
	rel := r.s.release(fl.ID.Release)
	m, due := r.s.contractOf(rel)
	if !due || rel.Config.Migrations.Contract.After == 0 || r.contractFailed(rel.ID) || r.needed(fl, m.to) != "" {
		return
	}
	db := r.s.database()
	if db.Alone != rel.ID {
		db.Alone, db.AloneFor = rel.ID, 0
	}
	db.AloneFor += r.f.Elapsed
	if db.AloneFor < rel.Config.Migrations.Contract.After.Std() {
		return
	}
	if op, err := r.beginContract(asked{Request: Request{Kind: KindContract, Key: r.s.Key, By: "release, after " + human.Span(db.AloneFor)}}); err == nil {
		op.Asked = nil // nobody did
		db.Alone, db.AloneFor = "", 0
	}
}

// contractFailed says whether the newest contract phase of a release failed.
func (r *round) contractFailed(release string) bool {
	run := r.s.Database.last(release, PhaseContract)
	return run != nil && run.Failure != ""
}
