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
	of := ""
	if v.Role != "" {
		of = " on " + v.Role
	}
	text := fmt.Sprintf("verdict%s at %d %%: %s", of, v.Percent, harmless(v.Reason))
	if v.New.Requests > 0 || v.Old.Requests > 0 || len(v.Checks) == 0 {
		text += fmt.Sprintf("; %s: %s; %s: %s", op.Release, verdictNumbers(v.New), orNone(op.From), verdictNumbers(v.Old))
	}
	for _, c := range v.Checks {
		if c.Name != v.Aspect {
			text += "; " + checkPlain(c)
		}
	}
	return text
}

// checkPlain is what was answered to a question of abort_on.
func checkPlain(c api.Answer) string {
	switch c.Outcome {
	case "":
		return "abort_on." + c.Name + " was not asked yet"
	case "unknown":
		return "abort_on." + c.Name + " has no answer: " + harmless(c.Text)
	}
	return "abort_on." + c.Name + ": " + harmless(c.Text)
}

// checkText is the same with its colour.
func (o *output) checkText(c api.Answer) string {
	text := checkPlain(c)
	if c.AllowFailure {
		text += " (decides nothing)"
	}
	switch c.Outcome {
	case "bad":
		return o.red(text)
	case "unknown":
		return o.yellow(text)
	}
	return text
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
