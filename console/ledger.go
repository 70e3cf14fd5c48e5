package console

import (
	"slices"
	"strings"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/orchestrator"
)

// ledgerOf is a ledger with its fleets summed by release.
func ledgerOf(l orchestrator.Ledger) api.Ledger {
	out := api.Ledger{
		Requests: l.Requests, Failed: l.Failed, Retried: l.Retried, Cut: l.Cut, Rejected: l.Rejected,
		Causes: api.Causes{NoNode: l.NoNode}, ByRelease: []api.ReleaseLedger{},
	}
	sums := map[string]*api.ReleaseLedger{}
	for id, fl := range l.Fleets {
		release := releaseIn(id)
		sum := sums[release]
		if sum == nil {
			sum = &api.ReleaseLedger{Release: release}
			sums[release] = sum
		}
		sum.Requests, sum.Connect, sum.Reset = sum.Requests+fl.Requests, sum.Connect+fl.Connect, sum.Reset+fl.Reset
		sum.Timeout, sum.Status5x, sum.Cut = sum.Timeout+fl.Timeout, sum.Status5x+fl.Status5x, sum.Cut+fl.Cut
		c := &out.Causes
		c.Connect, c.Reset, c.Timeout, c.Status5x = c.Connect+fl.Connect, c.Reset+fl.Reset, c.Timeout+fl.Timeout, c.Status5x+fl.Status5x
	}
	for _, sum := range sums {
		out.ByRelease = append(out.ByRelease, *sum)
	}
	slices.SortFunc(out.ByRelease, func(a, b api.ReleaseLedger) int { return compareReleases(a.Release, b.Release) })
	return out
}

// releaseIn is r8 of "app/env/role/r8/1".
func releaseIn(fleet string) string {
	p := strings.Split(fleet, "/")
	if len(p) != 5 {
		return fleet
	}
	return p[3]
}
