package haproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

const (
	configName = "release.cfg"
	lockName   = "lock"
	tlsName    = "tls"
	mapPrefix  = "release-"
	mapSuffix  = ".map"

	// fileMode lets HAProxy's group read, if the folder belongs to it (and passes its group on).
	fileMode = 0o640
	// keptMaps is how many maps stay: a HAProxy that has just opened the release.cfg before still finds its own.
	keptMaps = 3
)

// folder is the edge's part of HAProxy's configuration on disk.
type folder struct{ path string }

func (f folder) file(name string) string { return filepath.Join(f.path, name) }

// make creates the folder, and a configuration without routes in it if there is none, so that HAProxy can start.
func (f folder) make() error {
	if err := os.MkdirAll(f.file(tlsName), 0o750); err != nil {
		return denied(err, "make haproxy's folder")
	}
	if _, err := os.Stat(f.file(configName)); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.commit(f.setting().configure(&plan{}), nil, "empty")
}

func denied(err error, doing string) error {
	if errors.Is(err, fs.ErrPermission) {
		return fault.New(fault.Denied, "%s: %w", doing, err).WithHint("router.haproxy.edges in agent.yaml names the folders; the agent's user must own them")
	}
	if errors.Is(err, syscall.ENOSPC) {
		return fault.New(fault.NoSpace, "%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// setting is what this folder's configurations are made with.
func (f folder) setting() setting { return setting{dual: hasIPv6(), tls: tlsFiles{f.file(tlsName)}} }

// lock waits until no other process applies a table here.
func (f folder) lock(ctx context.Context) (unlock func(), err error) {
	file, err := os.OpenFile(f.file(lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, denied(err, "lock haproxy's folder")
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("lock haproxy's folder: %w", err)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, fmt.Errorf("lock haproxy's folder: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// commit makes a configuration and its map the ones that HAProxy reads next. The map is written first; release.cfg decides.
func (f folder) commit(c configuration, entries []entry, version string) error {
	text := mapText(entries)
	if text == "" {
		text = "#\n" // HAProxy warns of an empty file
	}
	name := f.file(mapPrefix + version + "-" + digest([]byte(text), 12) + mapSuffix)
	if err := atomicfile.Write(name, []byte(text), fileMode); err != nil {
		return denied(err, "write haproxy's map")
	}
	cfg := []byte(c.text(name))
	if have, err := os.ReadFile(f.file(configName)); err == nil && bytes.Equal(have, cfg) {
		return nil
	}
	if err := atomicfile.Write(f.file(configName), cfg, fileMode); err != nil {
		return denied(err, "write haproxy's configuration")
	}
	f.tidy(name)
	return nil
}

// tidy removes maps of the past.
func (f folder) tidy(current string) {
	names, err := filepath.Glob(f.file(mapPrefix + "*" + mapSuffix))
	if err != nil || len(names) <= keptMaps {
		return
	}
	slices.SortFunc(names, func(a, b string) int { return modified(b).Compare(modified(a)) })
	for _, name := range names[keptMaps:] {
		if name != current {
			_ = os.Remove(name) // what stays is looked at again at the next commit
		}
	}
}

func modified(name string) time.Time {
	info, err := os.Stat(name)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// saved is a release.cfg as it was, to go back to.
func (f folder) saved() ([]byte, error) {
	b, err := os.ReadFile(f.file(configName))
	if err != nil {
		return nil, denied(err, "read haproxy's configuration")
	}
	return b, nil
}

func (f folder) restore(cfg []byte) error {
	return atomicfile.Write(f.file(configName), cfg, fileMode)
}

// notes are those of the table on disk, the newest that was ever committed here.
func (f folder) notes() (notes, error) {
	cfg, err := f.saved()
	if err != nil {
		return notes{}, err
	}
	name := mapOf(string(cfg), f.path)
	if name == "" {
		return newLayout().notes, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return notes{}, denied(err, "read haproxy's map")
	}
	lines := map[string]string{}
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok {
			lines[key] = value
		}
	}
	return readNotes(lines)
}

// mapOf is the map that a release.cfg names.
func mapOf(cfg, folder string) string {
	_, rest, ok := strings.Cut(cfg, "'"+folder+"/"+mapPrefix)
	if !ok {
		return ""
	}
	name, _, ok := strings.Cut(rest, "'")
	if !ok {
		return ""
	}
	return filepath.Join(folder, mapPrefix+name)
}
