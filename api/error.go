package api

import "github.com/bootandshoot/release/internal/fault"

// Error is an error on the wire and on standard output.
type Error struct {
	Code    string     `json:"code"`
	Message string     `json:"message"`
	Hint    string     `json:"hint,omitempty"`
	File    string     `json:"file,omitempty"`
	Line    int        `json:"line,omitempty"`
	Column  int        `json:"column,omitempty"`
	Logs    []NodeTail `json:"logs,omitempty"`   // last lines of the nodes at fault
	Others  []Error    `json:"others,omitempty"` // further errors found in the same go
}

// NodeTail is the end of a node's output.
type NodeTail struct {
	Node  string   `json:"node"`
	Lines []string `json:"lines"`
}

// Failed is the answer to a request that failed.
type Failed struct {
	Error *Error `json:"error"`
}

// ErrorOf is err on the wire; nil for nil. Several errors found at once become the first and its others.
func ErrorOf(err error) *Error {
	all := fault.All(err)
	if len(all) == 0 {
		return nil
	}
	first := fromFault(all[0])
	for _, e := range all[1:] {
		first.Others = append(first.Others, fromFault(e))
	}
	return &first
}

func fromFault(e *fault.Error) Error {
	return Error{Code: string(e.Code), Message: e.Message, Hint: e.Hint, File: e.File, Line: e.Line, Column: e.Column}
}

// Fault is the error as the project's own, so that exit codes and hints survive the wire.
func (e *Error) Fault() error {
	if e == nil {
		return nil
	}
	list := fault.List{e.fault()}
	for i := range e.Others {
		list = append(list, e.Others[i].fault())
	}
	if len(list) == 1 {
		return list[0]
	}
	return list
}

func (e *Error) fault() *fault.Error {
	return &fault.Error{Code: fault.Code(e.Code), Message: e.Message, Hint: e.Hint, File: e.File, Line: e.Line, Column: e.Column}
}
