package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/pause"
)

// journal passes on what the services have said since the machine began, and what they say.
type journal struct {
	children *children
	units    []string
	out      *output
	cursor   string // of the last entry passed on
}

const (
	journalRetry = time.Second     // after a journalctl that ended by itself
	journalEnd   = 5 * time.Second // for what was said just before the end
)

// follow returns some time after the end of the context, when all that was said until then has been passed on.
func (j *journal) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if err := j.read(ctx, "--follow", "--no-tail"); ctx.Err() == nil {
			_ = tellConsole(fmt.Sprintf("journalctl ended and is started again: %v", err))
		}
		_ = pause.For(ctx, journalRetry)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalEnd)
	defer cancel()
	if err := errors.Join(j.run(last, nil, "--sync"), j.read(last)); err != nil {
		_ = tellConsole("the end of the journal: " + err.Error())
	}
}

// read passes on the entries that follow the last one.
func (j *journal) read(ctx context.Context, flags ...string) error {
	args := append(flags, "--all", "--output=json", "--output-fields=MESSAGE")
	if j.cursor != "" {
		args = append(args, "--after-cursor="+j.cursor)
	}
	for _, unit := range j.units {
		args = append(args, "_SYSTEMD_UNIT="+unit) // by its processes, not about it
	}
	return j.run(ctx, j.copy, args...)
}

// run is one journalctl; output, when given, reads what it writes.
func (j *journal) run(ctx context.Context, output func(io.Reader), args ...string) error {
	path, err := exec.LookPath("journalctl")
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return errors.Join(err, w.Close())
	}
	defer null.Close()
	pid, ended, err := j.children.start(append([]string{path}, args...), &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{null.Fd(), w.Fd(), 2}})
	_ = w.Close()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = syscall.Kill(pid, unix.SIGKILL) })()
	if output != nil {
		output(r)
	}
	if status := <-ended; status != 0 {
		return fmt.Errorf("journalctl: %s", describe(status))
	}
	return nil
}

// entry is what is read of one of the journal's. [systemd: Journal Export Formats, JSON]
type entry struct {
	Cursor  string          `json:"__CURSOR"`
	Time    string          `json:"__REALTIME_TIMESTAMP"` // µs since 1970
	Message json.RawMessage `json:"MESSAGE"`              // a string, or a list of bytes where it is no UTF-8
}

func (j *journal) copy(r io.Reader) {
	in := bufio.NewReaderSize(r, longestLine)
	for {
		line, err := in.ReadBytes('\n')
		var e entry
		if json.Unmarshal(line, &e) == nil {
			for text := range bytes.SplitSeq(e.text(), []byte("\n")) {
				j.out.at(e.when(), "out", text)
			}
			j.cursor = e.Cursor
		}
		if err != nil {
			return
		}
	}
}

func (e entry) when() time.Time {
	us, err := strconv.ParseInt(e.Time, 10, 64)
	if err != nil {
		return time.Now()
	}
	return time.UnixMicro(us)
}

func (e entry) text() []byte {
	var text string
	if json.Unmarshal(e.Message, &text) == nil {
		return []byte(text)
	}
	var list []uint16 // a []byte would be base64
	_ = json.Unmarshal(e.Message, &list)
	b := make([]byte, len(list))
	for i, v := range list {
		b[i] = byte(v)
	}
	return b
}
