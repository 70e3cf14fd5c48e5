package main

import (
	"fmt"
	"time"

	"github.com/bootandshoot/release/api"
)

// databaseLines is what is known of the app's database.
func (o *output) databaseLines(s api.Status) []string {
	if s.Database == nil {
		return nil
	}
	version := "schema not known"
	if s.Database.Version > 0 {
		version = fmt.Sprintf("schema %d", s.Database.Version)
	}
	line := "  database   " + o.bold(version)
	if len(s.Database.Runs) == 0 {
		return []string{line}
	}
	run := s.Database.Runs[0]
	what := fmt.Sprintf("%s of %s to %d by %s", run.Phase, run.Release, run.To, run.By)
	switch {
	case run.Failure != "":
		return []string{line, "             " + o.red(what+" failed: "+run.Failure)}
	case run.Ended.IsZero():
		what += fmt.Sprintf(", %d of %d commands done", run.Done, run.Of)
	default:
		what += " at " + run.Ended.Local().Format(time.DateTime)
	}
	return []string{line + "  " + o.dim(what)}
}
