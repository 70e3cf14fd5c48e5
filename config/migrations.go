package config

import (
	"path/filepath"
)

// Migrations is how the app's database follows its releases: expand before a release is launched, contract after the one
// before it is gone.
type Migrations struct {
	Dialect  string         `yaml:"dialect,omitempty" json:"dialect,omitempty" doc:"The database that the SQL files are for. Needed with sql." enum:"postgres,mysql"`
	Expand   *MigrateExpand `yaml:"expand,omitempty" json:"expand,omitempty" doc:"What is run before the fleet boots, while the release before serves: it must do that release no harm."`
	Contract *MigrateEnd    `yaml:"contract,omitempty" json:"contract,omitempty" doc:"What is run when no other release has a fleet any more. There is no way back behind it."`
	SQLAfter string         `yaml:"sql_after,omitempty" json:"sql_after,omitempty" doc:"Name of a file: those up to it, in the order of their names, were run long ago and are not checked."`
}

// MigrateExpand is the phase before a launch.
type MigrateExpand struct {
	To  int             `yaml:"to,required" json:"to" doc:"Version of the schema afterwards." minimum:"1"`
	Run []MigrationStep `yaml:"run,required" json:"run" doc:"Commands, one after the other, each in a node of its own from the new image."`
	SQL []string        `yaml:"sql,omitempty,flow" json:"sql,omitempty" doc:"The files that the commands run, relative to this file, with * and ?: they are checked for what breaks the release that runs."`
}

// MigrateEnd is the phase after the release before is gone.
type MigrateEnd struct {
	To    int             `yaml:"to,required" json:"to" doc:"Version of the schema afterwards; above that of expand." minimum:"1"`
	Run   []MigrationStep `yaml:"run,required" json:"run" doc:"Commands, one after the other, each in a node of its own from the release's image."`
	SQL   []string        `yaml:"sql,omitempty,flow" json:"sql,omitempty" doc:"The files that the commands run: they are checked for locks that keep the release waiting."`
	After Duration        `yaml:"after,omitempty" json:"after,omitempty" doc:"How long the release must have been alone, with all its nodes healthy, before contract begins by itself. Default: it does not; release run --contract begins it."`
}

// MigrationStep is one command of a phase.
type MigrationStep struct {
	Cmd     Command  `yaml:"cmd,required,flow" json:"cmd" doc:"Text for /bin/sh -c, or a program and its arguments as a list."`
	Timeout Duration `yaml:"timeout" json:"timeout" doc:"How long it may take." default:"10m"`
}

// SchemaRange is the versions of the schema that a release runs on.
type SchemaRange struct {
	Min int `yaml:"min,required" json:"min" doc:"The oldest version." minimum:"1"`
	Max int `yaml:"max,required" json:"max" doc:"The newest version; with that of the next release's expand in it, which does this one no harm." minimum:"1"`
}

// Fits says whether a version is within the range. A range that is not given has every version.
func (s *SchemaRange) Fits(version int) bool {
	return s == nil || version >= s.Min && version <= s.Max
}

// migrations checks both phases and the range together.
func (c *checker) migrations(m *Migrations, s *SchemaRange) {
	if s != nil && s.Min > s.Max && s.Max > 0 {
		c.fail(c.at("schema", "max"), "schema.max is %d, below schema.min", s.Max)
	}
	if m == nil {
		return
	}
	if m.Expand == nil && m.Contract == nil {
		c.fail(c.at("migrations"), "migrations needs expand or contract")
	}
	if s == nil {
		c.fail(c.at("migrations"), "migrations: the file does not say on which versions of the schema the release runs").
			WithHint("add schema: {min: …, max: …}")
	}
	before := 0
	if e := m.Expand; e != nil {
		c.phase("expand", e.To, e.Run, e.SQL, m, s)
		before = e.To
	}
	if e := m.Contract; e != nil {
		c.phase("contract", e.To, e.Run, e.SQL, m, s)
		if e.To > 0 && e.To <= before {
			c.fail(c.at("migrations", "contract", "to"), "migrations.contract.to must be above that of expand, %d", before)
		}
	}
	if m.SQLAfter != "" && m.SQLAfter != filepath.Base(m.SQLAfter) {
		c.fail(c.at("migrations", "sql_after"), "migrations.sql_after %q must be the name of a file, without folders", m.SQLAfter)
	}
}

// phase checks one phase. A version that did not decode is 0 and reported already.
func (c *checker) phase(name string, to int, run []MigrationStep, sql []string, m *Migrations, s *SchemaRange) {
	if to > 0 && s != nil && s.Min > 0 && s.Max > 0 && !s.Fits(to) {
		c.fail(c.at("migrations", name, "to"), "migrations.%s.to is %d, on which the release does not run: schema is %d to %d", name, to, s.Min, s.Max)
	}
	if len(run) == 0 && c.has("migrations", name, "run") {
		c.fail(c.at("migrations", name, "run"), "migrations.%s.run must have at least one command", name)
	}
	for i, step := range run {
		if step.Timeout < leastTimeout && c.decodes(new(Duration), "migrations", name, "run", i, "timeout") {
			c.fail(c.at("migrations", name, "run", i, "timeout"), "migrations.%s.run[%d].timeout must be at least %s", name, i, leastTimeout)
		}
	}
	if len(sql) > 0 && m.Dialect == "" && !c.has("migrations", "dialect") {
		c.fail(c.at("migrations", name, "sql"), "migrations.%s.sql: the file does not say which database the files are for", name).
			WithHint("add migrations.dialect: postgres, or mysql")
	}
	for i, pattern := range sql {
		if _, err := filepath.Match(pattern, ""); err != nil || pattern == "" {
			c.fail(c.at("migrations", name, "sql", i), "migrations.%s.sql[%d] %q is no path, or pattern of paths such as migrations/*.sql", name, i, pattern)
		}
	}
}
