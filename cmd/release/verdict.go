package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/human"
)

// verdictText is a verdict with its numbers in one line.
func verdictText(op api.Operation, v api.Verdict) string {
	return fmt.Sprintf("verdict at %d %%: %s; %s: %s; %s: %s", v.Percent, v.Reason,
		op.Release, verdictNumbers(v.New), orNone(op.From), verdictNumbers(v.Old))
}

func verdictNumbers(n api.VerdictNumbers) string {
	if n.Requests == 0 {
		return "no requests"
	}
	text := fmt.Sprintf("%s, %.2f %% failed", human.Count(n.Requests, "request"), 100*float64(n.Errors)/float64(n.Requests))
	if n.P99 > 0 {
		text += fmt.Sprintf(", p50 %s, p99 %s", span(seconds(n.P50)), span(seconds(n.P99)))
	}
	return text
}

// historyVerdicts tells the verdicts of the operations that had any.
func (o *output) historyVerdicts(w io.Writer, ops []api.Operation) {
	for _, op := range ops {
		if len(op.Verdicts) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s %s\n", op.ID, strings.TrimSpace(op.Kind+" "+op.Release))
		for _, v := range op.Verdicts {
			fmt.Fprintf(w, "  %s\n", verdictText(op, v))
		}
	}
}
