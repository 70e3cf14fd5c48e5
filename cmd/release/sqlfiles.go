package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sqlcheck"
)

// maxSQL bounds a file of migrations, in bytes: larger ones are data, which are not meant to be here.
const maxSQL = 16 << 20

// checkSQL looks at the SQL files that the app's migrations name, and gives their paths and what is wrong with them: patterns
// that fit no file, and statements that break a release.
func checkSQL(app *config.App) (paths []string, problems fault.List) {
	if app.Migrations == nil {
		return nil, nil
	}
	var files []sqlcheck.File
	if e := app.Migrations.Expand; e != nil {
		more, errs := sqlFiles(app, sqlcheck.Expand, e.SQL)
		files, problems = append(files, more...), append(problems, errs...)
	}
	if e := app.Migrations.Contract; e != nil {
		more, errs := sqlFiles(app, sqlcheck.Contract, e.SQL)
		files, problems = append(files, more...), append(problems, errs...)
	}
	for _, f := range files {
		paths = append(paths, f.Name)
	}
	slices.SortStableFunc(files, func(a, b sqlcheck.File) int { return cmp.Compare(filepath.Base(a.Name), filepath.Base(b.Name)) })
	problems = append(problems, passOver(app, files)...)
	for _, f := range sqlcheck.Check(sqlcheck.Dialect(app.Migrations.Dialect), files) {
		problems = append(problems, f.Fault())
	}
	return paths, problems
}

// sqlFiles reads the files of one phase.
func sqlFiles(app *config.App, phase sqlcheck.Phase, patterns []string) (files []sqlcheck.File, problems fault.List) {
	for i, pattern := range patterns {
		at := app.At("migrations", string(phase), "sql", i)
		full := pattern
		if !filepath.IsAbs(full) {
			full = filepath.Join(filepath.Dir(app.Path()), pattern)
		}
		paths, err := filepath.Glob(full)
		if err != nil || len(paths) == 0 {
			problems = append(problems, at.Errorf("migrations.%s.sql[%d]: %q fits no file", phase, i, pattern).
				WithHint("paths are relative to %s", relative(app.Path())))
		}
		for _, path := range paths {
			data, err := readSQL(path)
			if err != nil {
				problems = append(problems, at.Errorf("migrations.%s.sql[%d]: %v", phase, i, err))
				continue
			}
			if !slices.ContainsFunc(files, func(f sqlcheck.File) bool { return f.Name == relative(path) }) {
				files = append(files, sqlcheck.File{Name: relative(path), Data: data, Phase: phase})
			}
		}
	}
	return files, problems
}

func readSQL(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSQL {
		return nil, fmt.Errorf("%s is no file of at most %d MiB", path, maxSQL>>20)
	}
	return os.ReadFile(path)
}

// passOver marks the files that were run long ago: those up to the one that the app names, in the order of their names.
func passOver(app *config.App, files []sqlcheck.File) fault.List {
	last := app.Migrations.SQLAfter
	if last == "" {
		return nil
	}
	known := false
	for i, f := range files {
		if base := filepath.Base(f.Name); base <= last {
			known = known || base == last
			files[i].Phase = sqlcheck.Past
		}
	}
	if known {
		return nil
	}
	return fault.List{app.At("migrations", "sql_after").Errorf("migrations.sql_after: no file that sql names is called %q", last)}
}
