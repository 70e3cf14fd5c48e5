package main

import (
	"bytes"
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/bootandshoot/release/api"
)

// maxOutputLine is how much of a line one event holds, in bytes: a longer one becomes several.
const maxOutputLine = 64 << 10

// execJSON runs a command whose output becomes events, and whose exit code is part of the result.
func (c *cli) execJSON(ctx context.Context, client *api.Client, app api.App, node string, x api.Exec, s api.Streams) error {
	out := &lineEvents{out: c.out, node: node, stream: "out"}
	errs := &lineEvents{out: c.out, node: node, stream: "err"}
	s.Stdout, s.Stderr = out, errs
	began := time.Now()
	code, err := client.Exec(ctx, app, node, x, s)
	if err = errors.Join(err, out.flush(), errs.flush()); err != nil {
		return err
	}
	r := api.ExecResult{Head: api.NewHead(nil), Node: node, ExitCode: code, Seconds: time.Since(began).Seconds()}
	if err := c.out.result(r, nil); err != nil {
		return err
	}
	if code != 0 {
		return exitStatus(code)
	}
	return nil
}

// lineEvents makes an event of each line of one stream; one goroutine at a time writes.
type lineEvents struct {
	out          *output
	node, stream string
	rest         []byte // of a line that has not ended
}

func (l *lineEvents) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for len(l.rest) > 0 {
		text, rest, whole := bytes.Cut(l.rest, []byte{'\n'})
		switch {
		case len(text) > maxOutputLine:
			end := maxOutputLine
			for end > maxOutputLine-utf8.UTFMax && !utf8.RuneStart(text[end]) {
				end--
			}
			text, rest = l.rest[:end], l.rest[end:]
		case !whole:
			return len(p), nil
		}
		if err := l.line(text); err != nil {
			return 0, err
		}
		l.rest = rest
	}
	return len(p), nil
}

// flush writes what did not end with a newline.
func (l *lineEvents) flush() error {
	if len(l.rest) == 0 {
		return nil
	}
	err := l.line(l.rest)
	l.rest = nil
	return err
}

func (l *lineEvents) line(text []byte) error {
	at := time.Now().UTC().Format(time.RFC3339Nano)
	return l.out.event(logLine{Type: "log", Node: l.node, At: at, Stream: l.stream, Text: string(text)})
}
