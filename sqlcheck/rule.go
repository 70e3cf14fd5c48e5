package sqlcheck

import (
	"fmt"

	"github.com/bootandshoot/release/internal/fault"
)

// Dialect is the database that a file is for.
type Dialect string

const (
	Postgres Dialect = "postgres"
	MySQL    Dialect = "mysql"
)

// Rule names what is wrong with a statement; accepting comments name it.
type Rule string

const (
	Drop            Rule = "drop"             // a table, view, type … or a partition's rows go
	DropColumn      Rule = "drop-column"      // a column goes
	DropDefault     Rule = "drop-default"     // inserts without the column fail from now on
	Rename          Rule = "rename"           // a table, column … has another name
	Truncate        Rule = "truncate"         // all rows go
	Revoke          Rule = "revoke"           // rights go, or rows are hidden
	NotNull         Rule = "not-null"         // a new column that inserts must give a value
	SetNotNull      Rule = "set-not-null"     // a column that inserts must give a value from now on
	ChangeType      Rule = "change-type"      // another type, which may not hold what is written
	VolatileDefault Rule = "volatile-default" // a value of its own for each row: the table is written anew
	Rewrite         Rule = "rewrite"          // the table is written anew under a lock
	AddConstraint   Rule = "add-constraint"   // all rows are checked, or indexed, under a lock
	CreateIndex     Rule = "create-index"     // an index is built or dropped under a lock
	LockTable       Rule = "lock"             // a lock is taken by name
	WholeTable      Rule = "whole-table"      // all rows are changed in one statement, and locked
	Dynamic         Rule = "dynamic"          // text that is not in the file is run
	Unreadable      Rule = "unreadable"       // the file cannot be read to its end
	Accept          Rule = "accept"           // an accepting comment that accepts nothing
)

// Rules lists them all.
func Rules() []Rule {
	return []Rule{Drop, DropColumn, DropDefault, Rename, Truncate, Revoke, NotNull, SetNotNull, ChangeType, VolatileDefault, Rewrite,
		AddConstraint, CreateIndex, LockTable, WholeTable, Dynamic, Unreadable, Accept}
}

// breaks says that the rule is about what the old release cannot live with, not about a lock: that is what a
// contract phase is for.
func (r Rule) breaks() bool {
	switch r {
	case Drop, DropColumn, DropDefault, Rename, Truncate, Revoke, NotNull:
		return true
	}
	return false
}

// Finding is one statement, or part of one, that breaks a running release.
type Finding struct {
	File    string
	Line    int // from 1
	Column  int // from 1, in characters
	Rule    Rule
	Message string // what breaks
	Instead string // what to do
}

// String is the finding in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s:%d:%d: %s (%s)", f.File, f.Line, f.Column, f.Message, f.Rule)
}

// Fault is the finding as an error with its place, which says how it is accepted.
func (f Finding) Fault() *fault.Error {
	err := fault.New(fault.Invalid, "%s (%s)", f.Message, f.Rule).At(f.File, f.Line, f.Column)
	switch {
	case f.Rule == Accept, f.Rule == Unreadable:
		return err.WithHint("%s", f.Instead)
	case f.Instead == "":
		return err.WithHint("if it does no harm here, say why before it: -- release: accept %s: REASON", f.Rule)
	}
	return err.WithHint("%s; or say why it does no harm here, before it: -- release: accept %s: REASON", f.Instead, f.Rule)
}
