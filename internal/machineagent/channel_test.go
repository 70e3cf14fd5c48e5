package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOutputIsKeptAsLines(t *testing.T) {
	var console, log bytes.Buffer
	at := time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
	o := &output{console: &console, log: &log, now: func() time.Time { return at }}
	long := strings.Repeat("x", longestLine+10)
	for _, part := range []struct{ stream, text string }{{"out", "one\n\ntwo"}, {"err", "oh\n"}, {"out", long + "\nend\n"}} {
		w, err := o.pipe(part.stream)
		if err != nil {
			t.Fatal(err)
		}
		for piece := range strings.SplitAfterSeq(part.text, "n") {
			if _, err := io.WriteString(w, piece); err != nil {
				t.Fatal(err)
			}
		}
		_ = w.Close()
		o.copies.Wait()
	}
	const stamp = "2026-02-03T04:05:06.000000007Z "
	want := stamp + "out one\n" + stamp + "out \n" + stamp + "out two\n" + stamp + "err oh\n"
	head, rest, _ := strings.Cut(log.String(), stamp+"out x")
	if diff := cmp.Diff(want, head); diff != "" {
		t.Error(diff)
	}
	if got := strings.Count(rest, "x"); got != len(long)-1 || !strings.HasSuffix(rest, stamp+"out end\n") {
		t.Errorf("of a long line %d are kept, and then %q", got, rest[len(rest)-40:])
	}
	if last := o.finish(); last != "oh" {
		t.Errorf("the last error is %q", last)
	}
	if !strings.HasPrefix(console.String(), "one\n\ntwo\noh\n") {
		t.Errorf("the console shows %.40q", console.String())
	}
}

func TestChildrenAreWaitedForByWhoStartedThem(t *testing.T) {
	path, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	c := &children{}
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}}
	_, first, err := c.start([]string{path, "-c", "exit 3"}, attr)
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := c.start([]string{path, "-c", "kill -USR1 $$"}, attr)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.start([]string{"/no-such-program"}, attr); err == nil {
		t.Error("a program that is not there was started")
	}
	for deadline := time.Now().Add(10 * time.Second); len(first) == 0 || len(second) == 0; time.Sleep(time.Millisecond) {
		if c.reap(); time.Now().After(deadline) {
			t.Fatal("nobody ended")
		}
	}
	if e := exitOf(<-first); e.Code != 3 || e.Signal != "" {
		t.Errorf("%+v", e)
	}
	if e := exitOf(<-second); e.Code != 128+int(syscall.SIGUSR1) || e.Signal != "USR1" {
		t.Errorf("%+v", e)
	}
	if len(c.waiting) != 0 {
		t.Errorf("%d are still waited for", len(c.waiting))
	}
}

func TestFind(t *testing.T) {
	if got, err := find("/x", nil); err != nil || got != "/x" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := find("sh", []string{"PATH=/no:/bin"}); err != nil || got != "/bin/sh" {
		t.Errorf("%q, %v", got, err)
	}
	for _, env := range [][]string{nil, {"PATH=/no"}, {"PATH="}} {
		if got, err := find("sh", env); err == nil {
			t.Errorf("with %v it is %q", env, got)
		}
	}
}

func TestCommandConfig(t *testing.T) {
	data, err := commandConfig([]string{"/a", "b c"}, config{Dir: "/srv", User: "app"})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"schema": 1.0, "services": []any{map[string]any{
		"name": "main", "cmd": []any{"/a", "b c"}, "restart": "no", "dir": "/srv", "user": "app"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
