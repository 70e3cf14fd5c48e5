package sqlcheck

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Phase is when a file is run.
type Phase string

const (
	Expand   Phase = "expand"   // while the old release runs: all rules hold
	Contract Phase = "contract" // after it is gone: what it used may go, but locks still keep users waiting
	Past     Phase = "past"     // run before: only read for the columns that it made
)

// File is one SQL file.
type File struct {
	Name  string // for the places of findings
	Data  []byte
	Phase Phase
}

// Check looks at files in the order in which they are run. Findings come in the order of the files, and by place.
func Check(d Dialect, files []File) []Finding {
	c := &checker{dialect: d, columns: map[string]map[string]column{}}
	var all []Finding
	for _, f := range files {
		c.src, c.created = string(f.Data), map[string]bool{}
		var found []located
		for _, l := range c.file() {
			if f.Phase == Expand || f.Phase == Contract && !l.rule.breaks() {
				found = append(found, l)
			}
		}
		slices.SortStableFunc(found, func(a, b located) int { return cmp.Compare(a.at, b.at) })
		for _, l := range found {
			line, col := place(c.src, l.at)
			all = append(all, Finding{File: f.Name, Line: line, Column: col, Rule: l.rule, Message: l.message, Instead: l.instead})
		}
	}
	return all
}

// place is line and column of a byte.
func place(src string, at int) (line, col int) {
	before := src[:at]
	return 1 + strings.Count(before, "\n"), 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}

// located is a finding before its place is counted.
type located struct {
	at      int
	rule    Rule
	message string
	instead string
}

// checker holds what earlier statements say about later ones.
type checker struct {
	dialect Dialect
	src     string
	created map[string]bool              // tables and indexes that this file made
	columns map[string]map[string]column // by table and name, as far as the files say
	found   []located                    // in the statement, or outside of any
}

func (c *checker) report(at int, r Rule, instead, format string, args ...any) {
	c.found = append(c.found, located{at: at, rule: r, instead: instead, message: fmt.Sprintf(format, args...)})
}

func (c *checker) file() []located {
	c.found = nil
	statements := split(c.src, 0, len(c.src), c.dialect, c.report)
	all := c.found
	for _, s := range statements {
		c.found = nil
		c.statement(s.tokens)
		all = append(all, c.accept(s, c.found)...)
	}
	return all
}

// statement looks at one statement by its first words.
func (c *checker) statement(tokens []token) {
	p := &cursor{tokens: tokens, dialect: c.dialect}
	at := p.peek().at
	switch verb := p.any("CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE", "REVOKE", "UPDATE", "DELETE", "LOCK", "VACUUM", "CLUSTER",
		"REINDEX", "REFRESH", "FLUSH", "DO", "PREPARE", "EXECUTE"); verb {
	case "CREATE":
		c.create(p, at)
	case "ALTER":
		c.alter(p, at)
	case "DROP":
		c.drop(p, at)
	case "RENAME":
		c.report(at, Rename, renameInstead, "the running release looks for the old name")
	case "TRUNCATE":
		c.truncate(p, at)
	case "REVOKE":
		c.report(at, Revoke, "revoke in the contract phase", "the running release may use what is revoked")
	case "UPDATE", "DELETE":
		c.everyRow(p, at, verb)
	case "LOCK", "FLUSH", "VACUUM", "CLUSTER", "REINDEX", "REFRESH":
		c.locks(p, at, verb)
	case "DO", "PREPARE", "EXECUTE":
		c.runs(p, at, verb)
	}
}

// isNew says whether this file made the table, so that nobody uses it yet.
func (c *checker) isNew(table string) bool { return c.created[table] }
