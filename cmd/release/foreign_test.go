package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/fault"
)

// What a script prints is shown, but it cannot clear the screen, set the window's title or forge lines.
func TestForeignTextIsHarmless(t *testing.T) {
	const evil = "a\x1b]0;title\x07b\x1b[2Jc\r\u202Ed\u009bm\te"
	const want = "a�]0;title�b�[2Jc�d�m\te"
	var err bytes.Buffer
	o := &output{stdout: &err, stderr: &err, verbose: true}
	o.fail(fault.New(fault.Failed, "its script: %s", evil).WithHint("see %s", evil).At(evil, 1, 2))
	v := bakeLines{o}
	v.event(builder.Event{Kind: builder.Output, Line: evil})
	v.event(builder.Event{Kind: builder.Note, Line: evil})
	if got := err.String(); strings.Count(got, want) != 5 || strings.ContainsAny(got, "\x1b\x07\r") {
		t.Errorf("%q", got)
	}
}

type fullDisk struct{}

var errFull = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

// A result that could not be written is an error.
func TestResultOnAFullDisk(t *testing.T) {
	o := &output{stdout: fullDisk{}, stderr: io.Discard}
	if err := o.result(nil, func(w io.Writer) { fmt.Fprintln(w, "sha256:…") }); !errors.Is(err, errFull) {
		t.Error(err)
	}
}
