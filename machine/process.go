package machine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

const recordSchema = 1

// record names a process for ever.
type record struct {
	Schema  int    `json:"schema"`
	Boot    string `json:"boot"` // /proc/sys/kernel/random/boot_id
	PID     int    `json:"pid"`
	Started uint64 `json:"started"` // in clock ticks since boot
}

func newRecord(pid int) (record, error) {
	boot, err := bootID()
	if err != nil {
		return record{}, err
	}
	started, err := startTime(pid)
	return record{Schema: recordSchema, Boot: boot, PID: pid, Started: started}, err
}

func (r record) write(dir string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, recordFile), append(data, '\n'), 0o600)
}

func readRecord(dir string) (record, error) {
	var r record
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, fault.New(fault.NotFound, "find machine: %w", err)
	}
	if err != nil {
		return r, fmt.Errorf("find machine: %w", err)
	}
	if err := json.Unmarshal(data, &r); err != nil || r.Schema != recordSchema || r.PID <= 0 {
		return r, fault.New(fault.Failed, "find machine: %s is none of schema %d", filepath.Join(dir, recordFile), recordSchema)
	}
	return r, nil
}

// open gives a descriptor of the process; nil when it is gone. The start time is read after the descriptor is open: from then on
// the number cannot be given to another process.
func (r record) open() (*os.File, error) {
	if boot, err := bootID(); err != nil || boot != r.Boot {
		return nil, err
	}
	fd, err := unix.PidfdOpen(r.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", r.PID, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if started, err := startTime(r.PID); err != nil || started != r.Started {
		return nil, f.Close()
	}
	return f, nil
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return string(bytes.TrimSpace(id)), nil
}

// startTime is field 22 of /proc/PID/stat (proc(5)). The second may hold anything, up to the last parenthesis. A process that
// ended and was not waited for has none.
func startTime(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(data)
}

func parseStat(data []byte) (uint64, error) {
	const state, started = 0, 19 // counted from the third
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) <= started || fields[state][0] == 'Z' || fields[state][0] == 'X' {
		return 0, errors.New("the process ended")
	}
	return strconv.ParseUint(string(fields[started]), 10, 64)
}
