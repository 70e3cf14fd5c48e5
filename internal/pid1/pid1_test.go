package pid1

import (
	"os"
	"syscall"
	"testing"
	"time"
)

func TestReapTakesAllThatEnded(t *testing.T) {
	want := map[int]int{}
	for code := range 3 {
		script := "exit " + string(rune('0'+code))
		pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{Env: os.Environ()})
		if err != nil {
			t.Fatal(err)
		}
		want[pid] = code
	}
	stays, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "60"}, &syscall.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); len(want) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not reaped: %v", want)
		}
		Reap(func(pid int, status syscall.WaitStatus) {
			if code, ok := want[pid]; !ok || status.ExitStatus() != code {
				t.Errorf("%d ended with %v, want %d of ours: %v", pid, status, code, ok)
			}
			delete(want, pid)
		})
	}
	if err := syscall.Kill(stays, syscall.SIGKILL); err != nil {
		t.Errorf("a living child was taken: %v", err)
	}
	if _, err := syscall.Wait4(stays, nil, 0, nil); err != nil {
		t.Error(err)
	}
	Reap(func(pid int, _ syscall.WaitStatus) { t.Errorf("%d is none of ours", pid) })
}

func TestSignals(t *testing.T) {
	for s, want := range map[syscall.Signal]string{syscall.SIGTERM: "TERM", syscall.SIGKILL: "KILL", 40: "40"} {
		if got := SignalName(s); got != want {
			t.Errorf("%d is %q", s, got)
		}
	}
	if Incidental(syscall.SIGTERM) || !Incidental(syscall.SIGCHLD) || !Incidental(syscall.SIGURG) {
		t.Error("incidental signals")
	}
}
