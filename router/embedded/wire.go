package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// maxMessage bounds a control message: a table of 100 routes and 10,000 nodes is about 2 MB.
const maxMessage = 64 << 20

type upgradeRequest struct {
	Exe string `json:"exe"`
}

type cutRequest struct {
	Fleet string `json:"fleet"`
	Node  string `json:"node"`
}

type cutAnswer struct {
	Cut int `json:"cut"`
}

// wireError is one problem; Kind names the sentinel errors of the contract.
type wireError struct {
	Kind    string     `json:"kind,omitempty"`
	Code    fault.Code `json:"code"`
	Message string     `json:"message"`
	Hint    string     `json:"hint,omitempty"`
}

type wireErrors struct {
	Errors []wireError `json:"errors"`
}

// kinds are the sentinel errors that keep their identity over the socket.
func kinds() map[string]error {
	return map[string]error{"stale": router.ErrStale, "no_table": router.ErrNoTable, "unavailable": router.ErrUnavailable}
}

func encodeError(err error) (int, wireErrors) {
	for kind, sentinel := range kinds() {
		if errors.Is(err, sentinel) {
			return http.StatusConflict, wireErrors{[]wireError{{Kind: kind, Code: fault.CodeOf(err), Message: err.Error()}}}
		}
	}
	var out wireErrors
	for _, e := range fault.All(err) {
		out.Errors = append(out.Errors, wireError{Code: e.Code, Message: e.Message, Hint: e.Hint})
	}
	return http.StatusUnprocessableEntity, out
}

func decodeError(status int, b []byte) error {
	var in wireErrors
	if err := json.Unmarshal(b, &in); err != nil || len(in.Errors) == 0 {
		return fmt.Errorf("ask router: it answered %d", status)
	}
	if e := in.Errors[0]; e.Kind != "" {
		if sentinel, known := kinds()[e.Kind]; known {
			return &wrapped{text: e.Message, cause: sentinel}
		}
	}
	var list fault.List
	for _, e := range in.Errors {
		list = append(list, &fault.Error{Code: e.Code, Message: e.Message, Hint: e.Hint})
	}
	if len(list) == 1 {
		return list[0]
	}
	return list
}

// wrapped is an error that came over the wire: its text, and which sentinel it was.
type wrapped struct {
	text  string
	cause error
}

func (w *wrapped) Error() string { return w.text }
func (w *wrapped) Unwrap() error { return w.cause }
