package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/screen"
)

// output writes results and data on standard output, progress and errors on standard error.
type output struct {
	stdout   io.Writer
	stderr   io.Writer
	json     bool
	quiet    bool
	verbose  bool
	terminal bool // progress may be a live view
	color    bool
	finished bool // the one result of --json is written
}

func newOutput(stdout, stderr io.Writer, env func(string) (string, bool)) *output {
	o := &output{stdout: stdout, stderr: stderr}
	f, ok := stderr.(*os.File)
	ci, _ := env("CI")
	name, _ := env("TERM")
	o.terminal = ok && isTerminal(f) && !truth(ci) && name != "dumb"
	noColor, _ := env("NO_COLOR")
	o.color = o.terminal && noColor == ""
	return o
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

func (o *output) configure(g globals) {
	o.json, o.quiet, o.verbose = g.json, g.quiet, g.verbose
	if g.noColor {
		o.color, o.terminal = false, false
	}
}

// live says whether progress is drawn on a terminal.
func (o *output) live() bool { return o.terminal && !o.json && !o.quiet }

// screen begins a live view.
func (o *output) screen() *screen.Screen {
	f := o.stderr.(*os.File)
	return screen.New(f, func() int {
		columns, _, err := term.GetSize(int(f.Fd()))
		if err != nil || columns == 0 { // a terminal that does not know its size
			return 80
		}
		return columns
	})
}

// event writes a line of --json.
func (o *output) event(v any) error { return json.NewEncoder(o.stdout).Encode(v) }

// result ends the output: the object with --json, else what human prints. Call it once.
func (o *output) result(v any, human func(w io.Writer)) error {
	o.finished = true
	if o.json {
		return o.event(v)
	}
	if human == nil {
		return nil
	}
	w := &checkedWriter{w: o.stdout}
	human(w)
	if w.err != nil {
		return fmt.Errorf("write the result: %w", w.err)
	}
	return nil
}

// checkedWriter keeps the first error, which who prints for people does not look at: a script must not take a result that a
// full disk cut off for the whole one.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if c.err == nil {
		c.err = err
	}
	return n, err
}

// note says something in one line on standard error, except when it should be quiet.
func (o *output) note(format string, args ...any) {
	if !o.quiet {
		fmt.Fprintf(o.stderr, format+"\n", args...)
	}
}

// fail shows an error to people, and with --json as the result if there is none yet.
func (o *output) fail(err error) {
	for _, e := range fault.All(err) {
		o.showError(e)
	}
	if o.json && !o.finished {
		o.finished = true
		_ = o.event(api.FailedResult{Head: api.NewHead(err)})
	}
}

func (o *output) showError(e *fault.Error) {
	if e.Position() != "" {
		fmt.Fprintf(o.stderr, "%s: %s %s\n", harmless(e.Position()), o.red("error:"), harmless(e.Message))
	} else {
		fmt.Fprintf(o.stderr, "%s %s\n", o.red("error:"), harmless(e.Message))
	}
	if e.Hint != "" {
		fmt.Fprintf(o.stderr, "  %s %s\n", o.cyan("→"), harmless(e.Hint))
	}
}

// paint colours text where that is wanted.
func (o *output) paint(code, text string) string {
	if !o.color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (o *output) red(s string) string    { return o.paint("31", s) }
func (o *output) green(s string) string  { return o.paint("32", s) }
func (o *output) yellow(s string) string { return o.paint("33", s) }
func (o *output) cyan(s string) string   { return o.paint("36", s) }
func (o *output) bold(s string) string   { return o.paint("1", s) }
func (o *output) dim(s string) string    { return o.paint("2", s) }

// byState colours a word by how good it is.
func (o *output) byState(word string) string {
	switch word {
	case "healthy", "serving", "ready", "ok", "done", "completed":
		return o.green(word)
	case "starting", "launching", "warm", "draining", "warn", "new":
		return o.yellow(word)
	case "unhealthy", "dead", "shooting", "quarantined", "fail", "aborted", "rolled_back":
		return o.red(word)
	}
	return word
}

// pad fills text with spaces to a width; colours do not count.
func pad(text, shown string, width int) string {
	return shown + strings.Repeat(" ", max(0, width-len([]rune(text))))
}
