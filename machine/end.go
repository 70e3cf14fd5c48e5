package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/pause"
)

// Wait waits until the machine has ended, writes down how, and lets QEMU go. Whoever asks later, or elsewhere, gets the same answer.
func (m *Machine) Wait(ctx context.Context) (Exit, error) {
	for !m.waiting.TryLock() {
		if err := pause.For(ctx, pollEvery); err != nil {
			return Exit{}, err
		}
	}
	defer m.waiting.Unlock()
	if exit, err := readExit(m.dir); err == nil {
		return exit, m.Kill(ctx)
	}
	how, err := m.listen(ctx)
	if err != nil {
		return Exit{}, err
	}
	exit := Exit{How: how}
	if err := exit.write(m.dir); err != nil {
		return Exit{}, err
	}
	return exit, m.Kill(ctx)
}

// listen gives how the machine ended. A connection that breaks is the process's end, or somebody else heard it first.
func (m *Machine) listen(ctx context.Context) (Ending, error) {
	how, err := m.follow(ctx)
	if err == nil {
		return how, nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	select {
	case <-m.done:
		if exit, err := readExit(m.dir); err == nil {
			return exit.How, nil
		}
		return Killed, nil
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(startPatience):
		return "", fmt.Errorf("wait for machine %s: %w", m.dir, err)
	}
}

// write keeps how a machine ended.
func (e Exit) write(dir string) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, exitFile), append(data, '\n'), 0o600)
}

func readExit(dir string) (Exit, error) {
	var e Exit
	data, err := os.ReadFile(filepath.Join(dir, exitFile))
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(data, &e); err != nil || e.How == "" {
		return e, fmt.Errorf("read %s: no way to end", exitFile)
	}
	return e, nil
}

func (m *Machine) follow(ctx context.Context) (Ending, error) {
	events, err := dialMonitor(ctx, filepath.Join(m.dir, eventSock))
	if err != nil {
		return "", err
	}
	defer events.close()
	var stopped sync.WaitGroup
	defer stopped.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The state after the connection is made: what ends later is told as an event.
	status, err := events.status()
	if err != nil {
		return "", err
	}
	switch status {
	case "shutdown":
		return Off, nil
	case "guest-panicked":
		return Reset, nil
	case "io-error":
		stopped.Go(func() { m.goOn(ctx) })
	}
	for {
		got, err := events.next()
		if err != nil {
			return "", err
		}
		switch {
		case got.Event == "GUEST_PANICKED", got.Event == "SHUTDOWN" && got.Data.Reason == "guest-reset":
			return Reset, nil
		case got.Event == "SHUTDOWN" && got.Data.Guest:
			return Off, nil
		case got.Event == "SHUTDOWN":
			return Killed, nil
		case got.Event == "BLOCK_IO_ERROR" && got.Data.Action == "stop":
			stopped.Go(func() { m.goOn(ctx) })
		}
	}
}

// spaceEvery is how long a machine stands still that found no space, before it tries again.
const spaceEvery = 2 * time.Second

// goOn lets a machine go on that QEMU stopped because there was no space for what it writes. QEMU writes that again, and if there is still no
// space it stops the machine once more and says so.
func (m *Machine) goOn(ctx context.Context) {
	for pause.For(ctx, spaceEvery) == nil {
		if m.tell(ctx, "cont") == nil {
			return
		}
	}
}

// Stop asks the machine to power off, as its power button does, and kills it when it has not within the grace. A machine that is
// gone is success.
func (m *Machine) Stop(ctx context.Context, grace time.Duration) error {
	if grace > 0 && !m.Gone() {
		limited, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		if err := m.PressPower(limited); err == nil {
			if _, err := m.Wait(limited); err == nil {
				return nil
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return m.Kill(ctx)
}

// PressPower asks the machine to power off, as its power button does, and does not wait for that.
func (m *Machine) PressPower(ctx context.Context) error { return m.tell(ctx, "system_powerdown") }

// tell gives QEMU a command.
func (m *Machine) tell(ctx context.Context, command string) error {
	c, err := dialMonitor(ctx, filepath.Join(m.dir, commandSock))
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.do(command)
	return err
}

// Kill ends the machine at once and waits until its process is gone.
func (m *Machine) Kill(ctx context.Context) error {
	if m.Gone() {
		return nil
	}
	raw, err := m.proc.SyscallConn()
	if err != nil {
		return fmt.Errorf("kill machine %d: %w", m.PID, err)
	}
	var killed error
	if err := raw.Control(func(fd uintptr) { killed = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) }); err != nil {
		return fmt.Errorf("kill machine %d: %w", m.PID, err)
	}
	if killed != nil && !errors.Is(killed, unix.ESRCH) {
		return fmt.Errorf("kill machine %d: %w", m.PID, killed)
	}
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
