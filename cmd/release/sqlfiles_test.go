package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/config"
)

// The files of both phases are read in the order of their names: what one makes, a later one knows.
func TestCheckSQL(t *testing.T) {
	const phases = `migrations:
  dialect: postgres
  expand: {to: 2, run: [{cmd: [a]}], sql: ["sql/*_up.sql"]}
  contract: {to: 3, run: [{cmd: [a]}], sql: [sql/3_end.sql]}
`
	for name, test := range map[string]struct {
		more, file, text string
		want             []string // of each problem; none: no problem
		paths            int
	}{
		"in order":         {"", "sql/2_up.sql", "alter table t alter n type varchar(30);", nil, 3},
		"narrower":         {"", "sql/2_up.sql", "alter table t alter n type varchar(5);", []string{"2_up.sql:1:15: n of t is varchar(20)"}, 3},
		"contract":         {"", "sql/3_end.sql", "alter table t drop n; vacuum full t;", []string{"3_end.sql:1:23: VACUUM FULL"}, 2},
		"run long ago":     {"  sql_after: 2_up.sql\n", "sql/2_up.sql", "drop table t;", nil, 3},
		"a name of none":   {"  sql_after: 9_up.sql\n", "sql/2_up.sql", "", []string{`release.yaml:7:14: migrations.sql_after: no file that sql names is called "9_up.sql"`}, 3},
		"a file too large": {"", "sql/2_up.sql", strings.Repeat(" ", maxSQL+1), []string{"is no file of at most 16 MiB"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put := func(name, text string) {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			put("release.yaml", "app: a\nroute: {listen: \":1\"}\n"+phases+test.more+"schema: {min: 1, max: 3}\n")
			put("sql/1_up.sql", "create table t (n varchar(20));")
			put("sql/3_end.sql", "")
			put(test.file, test.text)
			app, err := config.Load(filepath.Join(dir, "release.yaml"), "")
			if err != nil {
				t.Fatal(err)
			}
			paths, problems := checkSQL(app)
			if len(paths) != test.paths || len(problems) != len(test.want) {
				t.Fatalf("got %d files, %v", len(paths), problems)
			}
			for i, want := range test.want {
				if !strings.Contains(problems[i].Error(), want) {
					t.Errorf("got %v, want %s", problems[i], want)
				}
			}
		})
	}
	app := &config.App{}
	if paths, problems := checkSQL(app); len(paths)+len(problems) != 0 {
		t.Errorf("without migrations: %v, %v", paths, problems)
	}
}
