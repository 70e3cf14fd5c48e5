package orchestrator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// Database is what is known of the schema of an app's database: what the migrations declared that ran here. Nobody asks the
// database itself.
type Database struct {
	Version int             `json:"version"` // after the last phase that succeeded; 0: none did
	Runs    []*MigrationRun `json:"runs"`    // the newest last

	// Alone is the release whose contract phase begins by itself, AloneFor how long it has been alone and whole.
	Alone    string        `json:"alone,omitempty"`
	AloneFor time.Duration `json:"alone_for,omitempty"`
}

// The phases of a migration.
const (
	PhaseExpand   = "expand"   // before a fleet boots, while the release before serves
	PhaseContract = "contract" // when that release is gone for good
)

// MigrationRun is one phase that ran, or runs.
type MigrationRun struct {
	Phase     string     `json:"phase"`
	From      int        `json:"from"` // version before; 0: not known
	To        int        `json:"to"`
	Release   string     `json:"release"`
	Operation string     `json:"operation"`
	By        string     `json:"by"`
	At        time.Time  `json:"at"`
	Ended     time.Time  `json:"ended,omitzero"`
	Done      int        `json:"done"` // commands that succeeded
	Of        int        `json:"of"`
	Task      string     `json:"task,omitempty"` // of the last command
	Code      int        `json:"code"`           // its exit code
	Failure   string     `json:"failure,omitempty"`
	Lines     []NodeTail `json:"lines,omitempty"` // the last that each command printed
}

// maxRuns is how many phases are remembered.
const maxRuns = 20

// database is the record of the app's database, made when it is first needed.
func (s *State) database() *Database {
	if s.Database == nil {
		s.Database = &Database{}
	}
	return s.Database
}

// version is that of the schema, 0 when no phase ran here.
func (s *State) version() int {
	if s.Database == nil {
		return 0
	}
	return s.Database.Version
}

// clone copies what a round may change in place.
func (d *Database) clone() *Database {
	if d == nil {
		return nil
	}
	c := *d
	c.Runs = clonePointers(d.Runs)
	for _, run := range c.Runs {
		run.Lines = slices.Clone(run.Lines)
	}
	return &c
}

// run is the phase that an operation runs, nil for none.
func (d *Database) run(operation string) *MigrationRun {
	if d == nil {
		return nil
	}
	for _, run := range slices.Backward(d.Runs) {
		if run.Operation == operation {
			return run
		}
	}
	return nil
}

// fits says why a release must not run on a version of the schema, nil if it may. Of an unknown version nothing is said.
func (r *round) fits(doing, release string, schema *config.SchemaRange, version int) error {
	if version == 0 || schema.Fits(version) {
		return nil
	}
	return fault.New(fault.Denied, "%s %s: %s runs on schema %d to %d, and the database is at %d", doing, r.s.Key, release,
		schema.Min, schema.Max, version).WithHint("%s", r.fitting(version))
}

// fitting names the releases that run on a version.
func (r *round) fitting(version int) string {
	var ids []string
	for _, rel := range slices.Backward(r.s.Releases) {
		if rel.Config.Schema != nil && rel.Config.Schema.Fits(version) && rel.State != ReleaseAborted && len(ids) < 5 {
			ids = append(ids, rel.ID)
		}
	}
	if len(ids) == 0 {
		return fmt.Sprintf("no release on record says that it runs on %d; mend schema in release.yaml if this one does", version)
	}
	return fmt.Sprintf("these run on %d: %s", version, strings.Join(ids, " "))
}

// launchFits says why a release must not be launched: it does not run on the version that there will be, or what serves does not.
func (r *round) launchFits(req asked) error {
	version := r.s.version()
	if m := req.Config.Migrations; m != nil && m.Expand != nil && m.Expand.To > version {
		version = m.Expand.To
		for _, fl := range r.s.Fleets {
			rel := r.s.release(fl.ID.Release)
			if rel == nil || fl.Weight == 0 || fl.Accessory || rel.Config.Schema.Fits(version) {
				continue
			}
			return fault.New(fault.Denied, "%s %s: expand to %d would break %s, which runs on schema %d to %d", req.Kind, r.s.Key, version,
				rel.ID, rel.Config.Schema.Min, rel.Config.Schema.Max).
				WithHint("if the change does %s no harm, first launch it again with schema.max: %d; else make expand smaller", rel.ID, version)
		}
	}
	return cmp.Or(r.fits(string(req.Kind), "this release", req.Config.Schema, version), r.volumesFit(req))
}

// last is the newest run of a phase of a release, nil for none.
func (d *Database) last(release, phase string) *MigrationRun {
	if d == nil {
		return nil
	}
	for _, run := range slices.Backward(d.Runs) {
		if run.Release == release && run.Phase == phase {
			return run
		}
	}
	return nil
}
