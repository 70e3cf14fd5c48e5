package console

import (
	"slices"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/orchestrator"
)

func databaseOf(db *orchestrator.Database) *api.Database {
	if db == nil || db.Version == 0 && len(db.Runs) == 0 {
		return nil
	}
	out := &api.Database{Version: db.Version, Runs: []api.MigrationRun{}}
	for _, run := range slices.Backward(db.Runs) {
		r := api.MigrationRun{
			Phase: run.Phase, From: run.From, To: run.To, Release: run.Release, Operation: run.Operation, By: run.By, At: run.At,
			Ended: run.Ended, Done: run.Done, Of: run.Of, Code: run.Code, Failure: run.Failure,
		}
		for _, t := range run.Lines {
			r.Lines = append(r.Lines, api.NodeTail{Node: t.Node, Lines: t.Lines})
		}
		out.Runs = append(out.Runs, r)
	}
	return out
}
