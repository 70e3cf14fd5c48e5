package main

import (
	"fmt"
	"strings"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/human"
)

// ledgerText is a ledger in one line, with causes only if there are any. What nodes answered with 5xx reached the users: it stands with
// what failed on the way.
func ledgerText(l api.Ledger) string {
	c := l.Causes
	text := fmt.Sprintf("%s, %d failed", human.Count(l.Requests, "request"), l.Failed)
	if c.Status5x > 0 {
		text += fmt.Sprintf(", %d answered 5xx by nodes", c.Status5x)
	}
	text += fmt.Sprintf(", %d retried, %d cut", l.Retried, l.Cut)
	if causes := nonzero([]counted{
		{c.Connect, "connect"}, {c.Reset, "reset"}, {c.Timeout, "timeout"}, {c.NoNode, "no node"}, {l.Rejected, "rejected"},
	}); causes != "" {
		text += " (" + causes + ")"
	}
	return text
}

type counted struct {
	n    uint64
	what string
}

// nonzero lists what is not 0.
func nonzero(all []counted) string {
	var parts []string
	for _, c := range all {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return strings.Join(parts, ", ")
}

// ledgerLines is each release's part in a table; none when no request reached any.
func ledgerLines(l api.Ledger, indent string) []string {
	if len(l.ByRelease) == 0 {
		return nil
	}
	var t table
	t.row(plain("RELEASE"), plain("REQUESTS"), plain("CONNECT"), plain("RESET"), plain("TIMEOUT"), plain("5XX"), plain("CUT"))
	for _, r := range l.ByRelease {
		row := []cell{plain(r.Release)}
		for _, n := range []uint64{r.Requests, r.Connect, r.Reset, r.Timeout, r.Status5x, r.Cut} {
			row = append(row, plain(fmt.Sprint(n)))
		}
		t.row(row...)
	}
	return t.lines(indent)
}
