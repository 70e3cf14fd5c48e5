package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/sandbox/internal/guest"
)

// groupParent is the folder in the cgroup tree that holds the groups of all sandboxes.
const groupParent = "release"

// cgroup is a sandbox's place in the cgroup tree: one folder with version 2, one for each used controller with
// version 1. A nil one is none at all; so is one without folders, where the tree is not writable.
//
// The number of processes is limited in a group of its own that only the command is in (join): with version 1 the
// controller's folder, with version 2 a threaded group below.
type cgroup struct {
	dirs   []string // of the init and all it starts
	only   []string // of the command only
	join   string   // the file by which a thread joins; "" without such a limit
	events string   // the file that counts kills for lack of memory; "" without a memory limit
}

// hierarchy is a mounted cgroup tree.
type hierarchy struct {
	mount       string
	own         string   // this process's group in it, "/" for the root
	controllers []string // empty for version 2
	v2          bool
}

// newCgroup makes the group of a sandbox, as far as the tree lets this process.
func newCgroup(name string, limits Limits) (*cgroup, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // no group asked for
	}
	g := &cgroup{}
	for _, h := range hierarchies() {
		if err := g.make(h, name, limits); err != nil {
			_ = g.remove()
			return nil, fmt.Errorf("make cgroup %s: %w", name, err)
		}
	}
	return g, nil
}

func (g *cgroup) make(h hierarchy, name string, limits Limits) error {
	settings := h.settings(limits)
	if len(settings) == 0 && !h.tracks() {
		return nil
	}
	parent, ok := h.parent(settings)
	if !ok {
		return nil
	}
	dir := filepath.Join(parent, name)
	if err := makeGroup(dir); err != nil {
		return err
	}
	onlyPids := !h.v2 && !slices.ContainsFunc(settings, func(s setting) bool { return s.controller != "pids" }) && len(settings) > 0
	if onlyPids {
		g.only = append(g.only, dir)
	} else {
		g.dirs = append(g.dirs, dir)
	}
	for _, s := range settings {
		if err := g.set(h, dir, s); err != nil && !s.optional {
			return err
		}
	}
	return nil
}

func makeGroup(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func (g *cgroup) set(h hierarchy, dir string, s setting) error {
	if s.events != "" {
		g.events = filepath.Join(dir, s.events)
	}
	if s.controller == "pids" {
		at, err := g.makeJoin(h, dir)
		if err != nil {
			return err
		}
		dir = at
	}
	return os.WriteFile(filepath.Join(dir, s.file), []byte(s.value), 0)
}

// makeJoin makes the group that only the command's thread joins.
func (g *cgroup) makeJoin(h hierarchy, dir string) (string, error) {
	if !h.v2 {
		g.join = filepath.Join(dir, "tasks")
		return dir, nil
	}
	only := filepath.Join(dir, "command")
	if err := makeGroup(only); err != nil {
		return "", err
	}
	g.only = append(g.only, only)
	g.join = filepath.Join(only, "cgroup.threads")
	if err := os.WriteFile(filepath.Join(only, "cgroup.type"), []byte("threaded"), 0); err != nil {
		return "", err
	}
	return only, os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+pids"), 0)
}

// openJoin opens the file by which the command joins; nil when there is none.
func (g *cgroup) openJoin() (*os.File, error) {
	if g == nil || g.join == "" {
		return nil, nil //nolint:nilnil // no such limit
	}
	f, err := os.OpenFile(g.join, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	return f, nil
}

// tracks says that a group is made here even without limits, so that nodes are not in the group of the agent's
// service, whose end would end them: the version 2 tree, and the one that systemd watches.
func (h hierarchy) tracks() bool { return h.v2 || slices.Contains(h.controllers, "name=systemd") }

// setting is a value to write into a group.
type setting struct {
	controller, file, value string
	events                  string
	optional                bool
}

func (h hierarchy) settings(l Limits) []setting {
	var all []setting
	if h.v2 {
		all = settingsV2(l)
	} else {
		all = settingsV1(l)
	}
	have := h.available()
	return slices.DeleteFunc(all, func(s setting) bool { return !slices.Contains(have, s.controller) })
}

const cpuPeriod = 100_000 // microseconds, the kernel's default

func settingsV2(l Limits) (s []setting) {
	if l.Memory > 0 {
		s = append(s, setting{controller: "memory", file: "memory.max", value: fmt.Sprint(l.Memory), events: "memory.events"},
			setting{controller: "memory", file: "memory.swap.max", value: "0", optional: true})
	}
	if l.CPUs > 0 {
		s = append(s, setting{controller: "cpu", file: "cpu.max", value: fmt.Sprintf("%d %d", quota(l.CPUs), cpuPeriod)})
	}
	if l.Pids > 0 {
		s = append(s, setting{controller: "pids", file: "pids.max", value: fmt.Sprint(l.Pids)})
	}
	return s
}

func settingsV1(l Limits) (s []setting) {
	if l.Memory > 0 {
		s = append(s, setting{controller: "memory", file: "memory.limit_in_bytes", value: fmt.Sprint(l.Memory), events: "memory.oom_control"},
			setting{controller: "memory", file: "memory.memsw.limit_in_bytes", value: fmt.Sprint(l.Memory), optional: true})
	}
	if l.CPUs > 0 {
		s = append(s, setting{controller: "cpu", file: "cpu.cfs_period_us", value: fmt.Sprint(cpuPeriod)},
			setting{controller: "cpu", file: "cpu.cfs_quota_us", value: fmt.Sprint(quota(l.CPUs))})
	}
	if l.Pids > 0 {
		s = append(s, setting{controller: "pids", file: "pids.max", value: fmt.Sprint(l.Pids)})
	}
	return s
}

// quota is the time of a period in microseconds; the kernel takes no less than 1000.
func quota(cpus float64) int { return max(int(cpus*cpuPeriod), 1000) }

// available lists the controllers that groups made here can have.
func (h hierarchy) available() []string {
	if !h.v2 {
		return h.controllers
	}
	for _, dir := range h.candidates() {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "cgroup.controllers"))
		if err == nil && writableGroup(filepath.Dir(dir)) {
			return strings.Fields(string(data))
		}
	}
	return nil
}

// candidates are the places for our folder: at the top of the tree, else as high above our own group as we may write,
// so that it is outside of the group of the agent's service.
func (h hierarchy) candidates() []string {
	places := []string{filepath.Join(h.mount, groupParent)}
	at := h.mount
	for _, part := range strings.Split(strings.Trim(h.own, "/"), "/") {
		if part == "" || part == ".." {
			continue
		}
		at = filepath.Join(at, part)
		places = append(places, filepath.Join(at, groupParent))
	}
	return places
}

// parent makes our folder and hands the controllers down to it.
func (h hierarchy) parent(settings []setting) (string, bool) {
	for _, dir := range h.candidates() {
		top := filepath.Dir(dir)
		if !writableGroup(top) {
			continue
		}
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			continue
		}
		if h.v2 {
			for _, s := range settings {
				delegate(top, s.controller)
				delegate(dir, s.controller)
			}
		}
		return dir, true
	}
	return "", false
}

// delegate may be refused, as where processes sit in an inner group; writing the limit then says so.
func delegate(dir, controller string) {
	_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0)
}

// writableGroup asks the kernel without changing anything. Moving a process needs the right to write to the group
// that both places have in common, which for a user's own tree is this one.
func writableGroup(dir string) bool {
	return unix.Access(dir, unix.W_OK) == nil && unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK) == nil
}

// add puts a process into the group.
func (g *cgroup) add(pid int) error {
	if g == nil {
		return nil
	}
	for _, d := range g.dirs {
		if err := os.WriteFile(filepath.Join(d, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("put process into cgroup: %w", err)
		}
	}
	return nil
}

// openEvents opens the file that counts kills; nil when there is none.
func (g *cgroup) openEvents() *os.File {
	if g == nil || g.events == "" {
		return nil
	}
	f, err := os.Open(g.events)
	if err != nil {
		return nil
	}
	return f
}

func (g *cgroup) oomKills() int {
	f := g.openEvents()
	if f == nil {
		return 0
	}
	defer f.Close()
	return guest.OOMKills(int(f.Fd()))
}

// remove removes the group's folders. The kernel empties a group a moment after its last process ended.
func (g *cgroup) remove() error {
	if g == nil {
		return nil
	}
	var errs []error
	for _, d := range slices.Concat(g.only, g.dirs) {
		errs = append(errs, removeGroup(d))
	}
	return errors.Join(errs...)
}

func removeGroup(dir string) error {
	deadline := time.Now().Add(2 * time.Second)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		time.Sleep(wait)
	}
}

// RemoveCgroup removes the group of a detached sandbox that ended. One that is not there is no error.
func RemoveCgroup(name string) error {
	return findCgroup(name).remove()
}

// OutOfMemory says whether the kernel ended a process of the detached sandbox for lack of memory.
func OutOfMemory(name string) bool { return findCgroup(name).oomKills() > 0 }

// findCgroup gives the group of a sandbox that was started before.
func findCgroup(name string) *cgroup {
	g := &cgroup{}
	if name == "" {
		return g
	}
	for _, h := range hierarchies() {
		for _, place := range h.candidates() {
			dir := filepath.Join(place, name)
			if !isDir(dir) {
				continue
			}
			if only := filepath.Join(dir, "command"); isDir(only) {
				g.only = append(g.only, only)
			}
			g.dirs = append(g.dirs, dir)
			for _, file := range []string{"memory.events", "memory.oom_control"} {
				if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
					g.events = filepath.Join(dir, file)
				}
			}
		}
	}
	return g
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// hierarchies lists the mounted trees, from /proc/self/mountinfo and /proc/self/cgroup.
func hierarchies() []hierarchy {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	groups, _ := os.ReadFile("/proc/self/cgroup")
	return parseHierarchies(string(mounts), string(groups))
}

// parseHierarchies reads the two files (proc_pid_mountinfo(5), cgroups(7)). Only trees mounted from their root are of
// use.
func parseHierarchies(mountinfo, cgroups string) []hierarchy {
	var list []hierarchy
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 || l[3] != "/" {
			continue
		}
		h := hierarchy{mount: l[4]}
		switch r[0] {
		case "cgroup2":
			h.v2 = true
		case "cgroup":
			h.controllers = strings.Split(r[2], ",")
		default:
			continue
		}
		h.own = ownGroup(h, cgroups)
		list = append(list, h)
	}
	return list
}

func ownGroup(h hierarchy, cgroups string) string {
	for line := range strings.Lines(strings.TrimSpace(cgroups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if h.v2 && parts[0] == "0" && parts[1] == "" {
			return parts[2]
		}
		if !h.v2 && slices.Contains(h.controllers, strings.Split(parts[1], ",")[0]) {
			return parts[2]
		}
	}
	return "/"
}
