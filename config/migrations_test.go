package config_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

func TestMigrations(t *testing.T) {
	app := load(t, small+`migrations:
  dialect: postgres
  expand: {to: 7, run: [{cmd: [/srv/migrate, up]}, {cmd: ./x | y, timeout: 1h}], sql: [migrations/*.sql]}
  contract: {to: 8, run: [{cmd: [/srv/migrate, end]}], after: 24h}
  sql_after: 0041_orders.sql
schema: {min: 6, max: 8}
`, "")
	yaml, err := app.YAML()
	if err != nil {
		t.Fatal(err)
	}
	same(t, app, load(t, string(yaml), ""))
	m := app.Migrations
	if m.Expand.To != 7 || m.Contract.To != 8 || m.Contract.After.Std() != 24*time.Hour || m.SQLAfter != "0041_orders.sql" {
		t.Errorf("got %+v", m)
	}
	if first, second := m.Expand.Run[0], m.Expand.Run[1]; first.Timeout.Std() != 10*time.Minute || !slices.Equal(second.Cmd, config.Command{"/bin/sh", "-c", "./x | y"}) {
		t.Errorf("got %+v, %+v", first, second)
	}
	for version, fits := range map[int]bool{5: false, 6: true, 8: true, 9: false} {
		if app.Schema.Fits(version) != fits {
			t.Errorf("schema %d fits: %v", version, !fits)
		}
	}
	if !(*config.SchemaRange)(nil).Fits(3) {
		t.Error("without a range no version is taken")
	}
}

func TestMigrationErrors(t *testing.T) {
	const run = "run: [{cmd: [a]}]"
	for src, want := range map[string]string{
		"migrations: {}\nschema: {min: 1, max: 1}\n":                                                             "4:13: migrations needs expand or contract",
		"migrations: {expand: {to: 1, " + run + "}}\n":                                                           "4:13: migrations: the file does not say on which versions",
		"migrations: {expand: {to: 0, " + run + "}}\nschema: {min: 1, max: 1}\n":                                 "4:27: migrations.expand.to must be at least 1, not 0",
		"migrations: {expand: {to: 3, " + run + "}}\nschema: {min: 1, max: 2}\n":                                 "4:27: migrations.expand.to is 3, on which the release does not run: schema is 1 to 2",
		"migrations: {expand: {to: 2, " + run + "}, contract: {to: 2, " + run + "}}\nschema: {min: 1, max: 2}\n": "migrations.contract.to must be above that of expand, 2",
		"migrations: {expand: {to: 2, run: []}}\nschema: {min: 1, max: 2}\n":                                     "4:35: migrations.expand.run must have at least one command",
		"migrations: {expand: {to: 2, run: [{cmd: []}]}}\nschema: {min: 1, max: 2}\n":                            "migrations.expand.run[0].cmd must begin with a program",
		"migrations: {expand: {to: 2, run: [{cmd: [a], timeout: 1ms}]}}\nschema: {min: 1, max: 2}\n":             "migrations.expand.run[0].timeout must be at least 1s",
		"migrations: {expand: {to: 2, " + run + ", sql: [a.sql]}}\nschema: {min: 1, max: 2}\n":                   "migrations.expand.sql: the file does not say which database",
		"migrations: {dialect: oracle, expand: {to: 2, " + run + "}}\nschema: {min: 1, max: 2}\n":                `4:23: unknown value "oracle" for migrations.dialect`,
		"migrations: {dialect: mysql, expand: {to: 2, " + run + ", sql: [\"[\"]}}\nschema: {min: 1, max: 2}\n":   `migrations.expand.sql[0] "[" is no path`,
		"migrations: {sql_after: a/b.sql, expand: {to: 2, " + run + "}}\nschema: {min: 1, max: 2}\n":             `migrations.sql_after "a/b.sql" must be the name of a file`,
		"schema: {min: 3, max: 2}\n": "4:23: schema.max is 2, below schema.min",
		"schema: {min: 3}\n":         "schema.max is missing",
	} {
		_, err := config.Load(write(t, small+src), "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", src, err, want)
		}
		for _, e := range fault.All(err) {
			if e.Line == 0 {
				t.Errorf("%s: %v has no place", src, e)
			}
		}
	}
}
