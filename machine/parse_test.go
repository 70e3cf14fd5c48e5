package machine

import (
	"bufio"
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

func TestProbe(t *testing.T) {
	ok, why, err := probe(t.Context(), Emulation, time.Minute)
	if err != nil || !ok {
		t.Errorf("an emulated guest %s: %v", why, err)
	}
	if ok, why, err := probe(t.Context(), Emulation, 1); err != nil || ok || why != "hangs" {
		t.Errorf("a guest that does not answer in time: %t, %q, %v", ok, why, err)
	}
}

func TestPathsWithCommas(t *testing.T) {
	s := Spec{Dir: "/m", Disks: []Disk{{Path: "/a,readonly=off", Format: QCOW2, Throwaway: true}}}.withDefaults()
	if got := strings.Join(s.arguments(), " "); !strings.Contains(got, "file=/a,,readonly=off,format=qcow2,snapshot=on") {
		t.Errorf("QEMU gets %s", got)
	}
}

func TestRecordOfAnotherProcess(t *testing.T) {
	r, err := newRecord(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if f, err := r.open(); err != nil || f == nil {
		t.Errorf("this process is not found: %v", err)
	}
	for name, change := range map[string]func(*record){
		"another start": func(r *record) { r.Started++ },
		"another boot":  func(r *record) { r.Boot = "x" },
	} {
		other := r
		change(&other)
		if f, err := other.open(); err != nil || f != nil {
			t.Errorf("%s: it is found: %v", name, err)
		}
	}
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("1 (a) b) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 4242 1 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		started, err := parseStat(data)
		if err == nil && bytes.HasPrefix(data, []byte("1 (a) b) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 4242 ")) && started != 4242 && bytes.Count(data, []byte(")")) == 2 {
			t.Errorf("it started at %d", started)
		}
	})
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-shutdown"}}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		line, err := readLine(bufio.NewReader(bytes.NewReader(data)), 100)
		if err == nil && (len(line) > 100 || bytes.Count(line, []byte("\n")) != 1) {
			t.Errorf("a line of %d bytes: %q", len(line), line)
		}
		_, _ = parseMessage(line)
	})
}
