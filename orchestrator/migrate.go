package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// migration is one phase as its release says it.
type migration struct {
	phase string
	to    int
	steps []config.MigrationStep
}

// expandOf is the phase that a launch of the release begins with; false when the database is there already, or the release has none.
func (s *State) expandOf(op *Operation) (migration, bool) {
	rel := s.release(op.Release)
	if rel == nil || op.Kind != KindLaunch && op.Kind != KindUp || rel.Config.Migrations == nil || rel.Config.Migrations.Expand == nil {
		return migration{}, false
	}
	e := rel.Config.Migrations.Expand
	return migration{PhaseExpand, e.To, e.Run}, e.To > s.version()
}

// awaitsExpand says whether a fleet's nodes must not boot yet, since the database is not there. Accessories need not wait: the
// database may be one.
func (s *State) awaitsExpand(fl *Fleet) bool {
	op := s.exclusive()
	if op == nil || fl.Accessory || op.Release != fl.ID.Release {
		return false
	}
	_, due := s.expandOf(op)
	return due
}

// bootable are the fleets of an operation whose nodes may boot by now, in their order.
func (s *State) bootable(op *Operation) []*Fleet {
	return slices.DeleteFunc(s.fleetsOf(op), s.awaitsExpand)
}

// bringsAccessory says whether an operation boots an accessory that is not in use yet.
func (s *State) bringsAccessory(op *Operation) bool {
	return slices.ContainsFunc(s.fleetsOf(op), func(fl *Fleet) bool { return fl.Accessory && fl.State == FleetLaunching })
}

// contractOf is the phase that ends what a release began.
func (s *State) contractOf(rel *Release) (migration, bool) {
	if rel == nil || rel.Config.Migrations == nil || rel.Config.Migrations.Contract == nil {
		return migration{}, false
	}
	c := rel.Config.Migrations.Contract
	return migration{PhaseContract, c.To, c.Run}, c.To > s.version()
}

// beginMigration writes down that a phase begins, and what the release that serves is like before it.
func (r *round) beginMigration(op *Operation, m migration) {
	db := r.s.database()
	db.Runs = append(db.Runs, &MigrationRun{Phase: m.phase, From: db.Version, To: m.to, Release: op.Release, Operation: op.ID, By: op.By,
		At: r.f.Now, Of: len(m.steps)})
	db.Runs = db.Runs[max(0, len(db.Runs)-maxRuns):]
	op.Migrating, op.Baseline, op.WorseSince = m.phase, r.f.Traffic, time.Time{}
	op.Healthy = r.servingHealthy()
	r.phase(op, PhaseMigrate, "%s of the database to %d by %s: %s", m.phase, m.to, op.Release, human.Count(len(m.steps), "command"))
}

// stepMigrate runs the commands of a phase one after the other, and watches what serves meanwhile.
func (r *round) stepMigrate(op *Operation) {
	run := r.s.Database.run(op.ID)
	rel := r.s.release(op.Release)
	m, _ := r.s.contractOf(rel)
	if run.Phase == PhaseExpand {
		m, _ = r.s.expandOf(op)
	}
	why := r.worse(op)
	t := r.s.task(run.Task)
	switch {
	case run.Done < run.Of && t == nil && why != "":
		r.migrationFailed(op, run, "stopped before its next command: "+why)
	case t == nil && op.Paused:
		r.wait(op, "release resume")
	case t == nil:
		r.beginStep(op, run, m)
	case t.Ended.IsZero():
		if why != "" && t.StoppedBy == "" {
			t.StoppedBy = "release, since " + why
		}
		r.wait(op, "%s %d of %d of the database (%s)%s", run.Phase, run.Done+1, run.Of, t.ID, waitingFor(t))
	default:
		r.endStep(op, run, t)
	}
}

func waitingFor(t *Task) string {
	if t.Waits == "" {
		return ""
	}
	return ", which waits for " + t.Waits
}

// beginStep starts the next command, in a node of the role that leads. From the first of a contract phase on there is no way back.
func (r *round) beginStep(op *Operation, run *MigrationRun, m migration) {
	step := m.steps[run.Done]
	fl := r.s.fleet(op.Fleet)
	t := r.beginTask(taskSpec{
		release: r.s.release(op.Release), role: fl.ID.Role, command: step.Cmd, timeout: step.Timeout.Std(), driver: fl.Driver, scope: fl.Scope,
		by: op.By, operation: op.ID, purpose: fmt.Sprintf("%s %d of %d", run.Phase, run.Done+1, run.Of),
	})
	run.Task = t.ID
	if run.Phase == PhaseContract && t.Failure == nil {
		op.OneWay = fmt.Sprintf("contract of the database to %d has begun", run.To)
	}
}

// endStep takes the outcome of a command.
func (r *round) endStep(op *Operation, run *MigrationRun, t *Task) {
	run.Task, run.Code = t.ID, t.Code
	run.Lines = append(run.Lines, NodeTail{Node: t.Node, Lines: t.Lines})
	switch {
	case t.Failure != nil:
		r.migrationFailed(op, run, t.Failure.Message)
		return
	case t.Code != 0:
		r.migrationFailed(op, run, fmt.Sprintf("%s ended with exit code %d", t.name(), t.Code))
		return
	}
	run.Done, run.Task = run.Done+1, ""
	if run.Done < run.Of {
		return
	}
	run.Ended, op.Migrating = r.f.Now, ""
	r.s.Database.Version = run.To
	r.sayOp("migrated", op, "the database is at %d: %s of %s is done", run.To, run.Phase, op.Release)
	if run.Phase == PhaseContract {
		r.finish(op, "the database is at %d", run.To)
		return
	}
	r.toBoot(op)
}

// migrationFailed ends an operation whose phase failed. What the commands did to the database stays: nobody undoes it.
func (r *round) migrationFailed(op *Operation, run *MigrationRun, why string) {
	run.Ended, run.Failure, op.Migrating = r.f.Now, why, ""
	f := &Failure{Code: fault.RolledBack, Logs: run.Lines,
		Message: fmt.Sprintf("%s of the database to %d by %s: %s; what its commands did stays, since nobody undoes it", run.Phase, run.To, op.Release, why),
		Hint:    "look at the last lines, mend the command or the database, and launch again: every command is run again then"}
	if run.Phase == PhaseExpand {
		r.abort(op, f)
		return
	}
	f.Code = fault.NeedsPerson
	f.Hint = fmt.Sprintf("users are on %s; look at what the commands did, mend it, and go on: release run --contract runs every command again", op.Release)
	r.abort(op, f)
}

// stopMigration ends the command of a phase that an abort finds running, and says whether it still does.
func (r *round) stopMigration(op *Operation) bool {
	run := r.s.Database.run(op.ID)
	if op.Migrating == "" || run == nil {
		return false
	}
	t := r.s.task(run.Task)
	if t != nil && t.Ended.IsZero() {
		if t.StoppedBy == "" {
			t.StoppedBy = "the abort of " + op.ID
		}
		return true
	}
	if t != nil {
		run.Code = t.Code
		run.Lines = append(run.Lines, NodeTail{Node: t.Node, Lines: t.Lines})
	}
	r.leaveMigration(op, op.ID+" was aborted")
	return false
}

// leaveMigration closes the record of a phase that nobody goes on with.
func (r *round) leaveMigration(op *Operation, why string) {
	if run := r.s.Database.run(op.ID); op.Migrating != "" && run != nil {
		run.Ended, run.Failure, op.Migrating = r.f.Now, "stopped, since "+why, ""
	}
}

const (
	// worseFor is how long the release that serves may have fewer healthy nodes than before the phase: one that died by chance is replaced sooner.
	worseFor = 10 * time.Second
	// expandErrors is the share of failed requests from which a phase is stopped where abort_on says none.
	expandErrors = 0.05
	// expandRequests is how many requests must have come to judge by.
	expandRequests = 100
)

// servingHealthy is how many healthy nodes the fleets with traffic have.
func (r *round) servingHealthy() int {
	n := 0
	for _, fl := range r.s.Fleets {
		if fl.Weight > 0 {
			n += fl.healthy()
		}
	}
	return n
}

// worse says what became worse for users since the phase began; "" for nothing.
func (r *round) worse(op *Operation) string {
	if r.f.Elapsed == 0 {
		op.Baseline = r.f.Traffic // counters seen by an earlier agent cannot be compared
	}
	healthy := r.servingHealthy()
	switch {
	case healthy >= op.Healthy:
		op.WorseSince = time.Time{}
	case op.WorseSince.IsZero():
		op.WorseSince = r.f.Now
	case r.f.Now.Sub(op.WorseSince) >= worseFor:
		return fmt.Sprintf("%d of %s that served before are healthy", healthy, human.Count(op.Healthy, "node"))
	}
	for _, fl := range r.s.Fleets {
		if fl.Weight == 0 {
			continue
		}
		before := op.Baseline[fl.ID.String()]
		now := r.f.Traffic[fl.ID.String()].Since(before)
		limit, least := expandErrors, uint64(expandRequests)
		if rule := r.s.configOf(fl).Cutover.AbortOn; rule != nil && rule.ErrorRate > 0 {
			limit, least = rule.ErrorRate.Share(), uint64(rule.MinRequests)
		}
		if before.Requests > 0 {
			limit = max(limit, 2*float64(before.Errors)/float64(before.Requests))
		}
		if rate := float64(now.Errors) / float64(max(now.Requests, 1)); now.Requests >= least && rate > limit {
			return fmt.Sprintf("%.1f %% of %d requests to %s failed since it began, %.1f %% are allowed", rate*100, now.Requests, fl.ID.Release, limit*100)
		}
	}
	return ""
}
