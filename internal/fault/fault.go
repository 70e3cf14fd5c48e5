// Package fault carries the project's errors: a small set of codes that map to exit codes, and enough
// context to say what was being done, to what, why it failed and what to do next.
//
// Packages return ordinary wrapped errors ("verb object: %w") and put a *Error at the place where the code
// or the hint is known. The command line and the API find it with errors.As and show it; nobody else looks.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Code is the class of an error. It is part of the wire format and never renamed.
type Code string

const (
	Failed      Code = "failed"        // an error; nothing changed, or what changed is resumed by the next try
	Invalid     Code = "invalid"       // usage, configuration or recipe is wrong
	NotFound    Code = "not_found"     // the named thing is not there
	Unavailable Code = "unavailable"   // agent, engine, registry or network does not answer
	Denied      Code = "denied"        // the kernel, the engine or a policy refuses
	Unsupported Code = "unsupported"   // this machine or driver cannot do it
	NoSpace     Code = "no_space"      // a disk or a range is full
	Exists      Code = "exists"        // the port, name or file is taken
	Conflict    Code = "conflict"      // what a plan rests on has changed since
	RolledBack  Code = "rolled_back"   // failed and rolled back: users are on the old release
	NeedsPerson Code = "needs_person"  // failed and a person must act
	Busy        Code = "busy"          // another operation holds the lock
	Held        Code = "held"          // held at a step, waits for a person
	Running     Code = "still_running" // the time given was over before the operation was
	Interrupted Code = "interrupted"   // ended by a signal
	Internal    Code = "internal"      // a defect of this program
)

// ExitCode is the process exit code for the class (the CLI contract).
func (c Code) ExitCode() int {
	switch c {
	case Invalid:
		return 2
	case RolledBack:
		return 3
	case NeedsPerson:
		return 4
	case Busy:
		return 5
	case Held:
		return 6
	case Running:
		return 7
	case Interrupted:
		return 130
	}
	return 1
}

// Error is an error with a class, a place and a next step. Only Code and Message are always set.
type Error struct {
	Code    Code
	Message string // what was being done, to what, and why it failed; no trailing dot
	Hint    string // what to do next, as a sentence or a command to type
	File    string // the file at fault, as the user named it
	Line    int    // 1-based; 0 when unknown
	Column  int    // 1-based, in characters; 0 when unknown
	Cause   error
}

// New returns an error of the given class. The arguments are those of fmt.Errorf; %w keeps the cause.
func New(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Cause: errors.Unwrap(err)}
}

// WithHint sets the next step and returns the error itself.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// At sets the position in a file and returns the error itself.
func (e *Error) At(file string, line, column int) *Error {
	e.File, e.Line, e.Column = file, line, column
	return e
}

// Position is "file:line:column" as far as it is known, else "".
func (e *Error) Position() string {
	switch {
	case e.File == "":
		return ""
	case e.Line == 0:
		return e.File
	case e.Column == 0:
		return fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	return fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
}

// Error is the position, if known, and the message. The hint is left to who shows the error.
func (e *Error) Error() string {
	if p := e.Position(); p != "" {
		return p + ": " + e.Message
	}
	return e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// List is several errors found in one go, such as all mistakes of a configuration file.
type List []*Error

// Error is all messages, a line each.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the errors themselves, for errors.As and errors.Is.
func (l List) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}

// Err is the list as an error, or nil when it is empty.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}

// All lists the errors in err that carry a class: those of a List, else the outermost *Error with the text of
// what wraps it, else err itself as Failed. It is nil for nil.
func All(err error) []*Error {
	if err == nil {
		return nil
	}
	var list List
	if errors.As(err, &list) {
		return list
	}
	var e *Error
	if !errors.As(err, &e) {
		return []*Error{{Code: Failed, Message: err.Error(), Cause: err}}
	}
	if error(e) == err {
		return []*Error{e}
	}
	outer := *e
	outer.Cause = err
	outer.Message = strings.Replace(err.Error(), e.Error(), e.Message, 1)
	return []*Error{&outer}
}

// CodeOf is the class of err: that of its outermost *Error, Failed for any other error, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return All(err)[0].Code
}

// Is reports whether err carries the class.
func Is(err error, code Code) bool { return err != nil && CodeOf(err) == code }
