package orchestrator

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
)

// What releases do to a database in the simulation, and what it has to be like for whoever runs. A command of a migration says in
// its program's name which one it is; what it made of the database is so whatever an agent believes.

// migrating gives a release both phases of a migration: that of image 7 expands to 70 and contracts to 75. It runs on what the
// releases before it left, and on what the next one makes of it, or two or three.
func migrating(image int, m move) func(*config.App) {
	return func(c *config.App) {
		to := 10 * image
		c.Schema = &config.SchemaRange{Min: max(1, to-30), Max: to + []int{10, 14, 40}[m.n%3]}
		c.Migrations = &config.Migrations{Expand: &config.MigrateExpand{To: to, Run: migrationSteps(PhaseExpand, to, m.m%3+1, m.n%9 == 8)}}
		end := &config.MigrateEnd{To: to + 5, Run: migrationSteps(PhaseContract, to+5, m.n%2+1, m.m%9 == 8)}
		if m.m%2 == 0 {
			end.After = config.Duration(5 * time.Second)
		}
		c.Migrations.Contract = end
	}
}

// migrationSteps are so many commands, of which every second takes its time. The last may fail.
func migrationSteps(phase string, to, count int, fails bool) []config.MigrationStep {
	var list []config.MigrationStep
	for i := range count {
		name := fmt.Sprintf("/%s/%d/%d/%d", phase, to, i, count)
		cmd := config.Command{name, "exit", "0"}
		switch {
		case fails && i == count-1:
			cmd[2] = "1"
		case (to/10+i)%2 == 0:
			cmd = config.Command{name, "takes", "its", "time"}
		}
		list = append(list, config.MigrationStep{Cmd: cmd, Timeout: config.Duration(10 * time.Second)})
	}
	return list
}

// migrated is a command of a migration that was run.
type migrated struct {
	phase, operation string
	to, nth, of      int
	succeeded        bool
}

// migrationOf reads which command of a migration this is.
func migrationOf(command []string) (m migrated, ok bool) {
	if len(command) == 0 {
		return m, false
	}
	parts := strings.Split(command[0], "/")
	if len(parts) != 5 || parts[1] != PhaseExpand && parts[1] != PhaseContract {
		return m, false
	}
	m.phase = parts[1]
	m.to, _ = strconv.Atoi(parts[2])
	m.nth, _ = strconv.Atoi(parts[3])
	m.of, _ = strconv.Atoi(parts[4])
	return m, true
}

// migrates is a command of a migration that begins. The lock is held, here and in what follows.
func (w *simWorld) migrates(spec fleet.Spec, name string, running map[string]fleet.Node) {
	m, is := migrationOf(spec.Command)
	if !is {
		return
	}
	_, task := w.state.fleet(spec.Fleet)
	if task == nil || w.late[short(name)] {
		return // nobody waits for it any more
	}
	m.operation = task.Operation
	w.checkMigration(m, spec.Fleet.Release, running)
	w.ran[name] = &m
	switch spec.Command[1] {
	case "exit":
		w.migrated(name, spec.Command[2] == "0")
	default:
		time.AfterFunc(2*time.Second, func() {
			_, runs := w.running()[name]
			w.driver.Kill(name, fleet.Exit{})
			w.mu.Lock()
			defer w.mu.Unlock()
			w.migrated(name, runs)
		})
	}
}

// migrated is the end of such a command.
func (w *simWorld) migrated(name string, well bool) {
	m := w.ran[name]
	if m.succeeded = well; well && m.nth == m.of-1 {
		w.schema = max(w.schema, m.to)
	}
}

// checkMigration: the commands of a phase run one after the other, each once, and do nobody harm who runs.
func (w *simWorld) checkMigration(m migrated, release string, running map[string]fleet.Node) {
	before := m.nth == 0
	for _, other := range w.ran {
		if other.operation != m.operation || other.phase != m.phase {
			continue
		}
		before = before || other.nth == m.nth-1 && other.succeeded
		if other.nth == m.nth {
			w.violate(inv5Once, "command %d of %s to %d was run before by %s", m.nth, m.phase, m.to, m.operation)
		}
	}
	if !before {
		w.violate(invSchema, "command %d of %s to %d runs, and the one before it did not succeed", m.nth, m.phase, m.to)
	}
	for _, name := range slices.Sorted(maps.Keys(running)) {
		fl, task := w.state.fleet(running[name].ID.Fleet)
		if fl == nil || task != nil || fl.Accessory || fl.ID.Release == release || m.phase == PhaseExpand && fl.Weight == 0 {
			continue // what is warm may be left behind
		}
		if rel := w.state.release(fl.ID.Release); rel != nil && !w.configOf(rel).Schema.Fits(m.to) {
			w.violate(invSchema, "%s to %d runs beside %s, which does not run on that", m.phase, m.to, name)
		}
	}
}

// checkSchema: what serves boots only on the schema that its release brings.
func (w *simWorld) checkSchema(spec fleet.Spec, name string) {
	rel := w.state.release(spec.Fleet.Release)
	if rel == nil || spec.Kind != fleet.Serve || spec.Fleet.Role == "db" || !w.schedule.database {
		return
	}
	if to := w.configOf(rel).Migrations.Expand.To; to > w.schema {
		w.violate(invSchema, "%s boots, and the database is at %d, not at %d", name, w.schema, to)
	}
}

// runsOnSchema: no release gets traffic that does not run on the schema.
func (w *simWorld) runsOnSchema(was, fl *Fleet, next *journalled) {
	rel := next.release(fl.ID.Release)
	if was == nil || fl.Weight <= was.Weight || fl.Accessory || rel == nil || next.Database == nil || next.Database.Version == 0 {
		return
	}
	if !w.configOf(rel).Schema.Fits(next.Database.Version) {
		w.violate(invSchema, "%s gets %d %%, and does not run on %d", fl.ID, fl.Weight, next.Database.Version)
	}
}

// schemaIsTrue: the journal says of the database what its commands made of it.
func (w *simWorld) schemaIsTrue(next *journalled) {
	if next.Database != nil && next.Database.Version > w.schema {
		w.violate(invSchema, "the database is at %d, and on record at %d", w.schema, next.Database.Version)
	}
}
