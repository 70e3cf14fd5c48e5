package dockerapi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/fleet"
)

// engineFiles are what the engine itself makes in a container, besides what every driver does.
var engineFiles = []string{"/.dockerenv", "/sbin/docker-init", "/usr/sbin/docker-init"}

// Drift is how the container of a node differs from its image: programs that run and files. The engine says which files differ. Which
// programs run is read from /proc where the engine's processes are near: this machine's, to be looked at; elsewhere it is what their
// command lines say. Errors: fleet.ErrNoNode when the container has ended, those of the engine.
func Drift(ctx context.Context, engine *client.Client, c container.InspectResponse, node string, spec fleet.DriftSpec, near bool) (programs, files []fleet.Change, err error) {
	if c.State == nil || !c.State.Running {
		return nil, nil, fmt.Errorf("compare %s with its image: the node has ended: %w", node, fleet.ErrNoNode)
	}
	diff, err := engine.ContainerDiff(ctx, c.ID)
	if err != nil {
		return nil, nil, Explain(err, "compare %s with its image", node)
	}
	if files, err = changedFiles(ctx, engine, c.ID, diff, spec); err != nil {
		return nil, nil, Explain(err, "compare %s with its image", node)
	}
	if programs, err = strangePrograms(ctx, engine, c, diff, spec, near); err != nil {
		return nil, nil, Explain(err, "list processes of %s", node)
	}
	return programs, files, nil
}

// changedFiles are the engine's changes without folders that differ only by what is in them, which it names too.
func changedFiles(ctx context.Context, engine *client.Client, containerID string, diff []container.FilesystemChange, spec fleet.DriftSpec) ([]fleet.Change, error) {
	parents, listed, engines := map[string]bool{}, map[string]bool{}, map[string]bool{}
	allowed := func(path string) bool { return spec.FileAllowed(path) || fleet.Allowed(engineFiles, path) }
	for _, f := range diff {
		eachParent(f.Path, func(dir string) {
			parents[dir] = true
			listed[dir] = listed[dir] || !allowed(f.Path)
			engines[dir] = engines[dir] || fleet.Allowed(engineFiles, f.Path)
		})
	}
	for _, v := range spec.Spec.Volumes { // the engine makes the folders above a mount that the image lacks
		eachParent(v.Path, func(dir string) { engines[dir] = true })
	}
	var changes []fleet.Change
	for _, f := range diff {
		if allowed(f.Path) || listed[f.Path] || engines[f.Path] || parents[f.Path] && f.Kind == container.ChangeModify {
			continue
		}
		if f.Kind == container.ChangeModify {
			folder, err := isFolder(ctx, engine, containerID, f.Path)
			if err != nil {
				return nil, err
			}
			if folder {
				continue // something in it was made and removed again
			}
		}
		changes = append(changes, fleet.Change{What: fleet.ChangedFile, How: howOf(f.Kind), Path: f.Path})
	}
	return changes, nil
}

// eachParent calls f for every folder above a path, but the root.
func eachParent(path string, f func(dir string)) {
	for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path, '/') {
		path = path[:i]
		f(path)
	}
}

func isFolder(ctx context.Context, engine *client.Client, containerID, path string) (bool, error) {
	st, err := engine.ContainerStatPath(ctx, containerID, path)
	if errdefs.IsNotFound(err) {
		return true, nil // it vanished meanwhile
	}
	return err == nil && st.Mode.IsDir(), err
}

func howOf(k container.ChangeType) string {
	switch k {
	case container.ChangeAdd:
		return fleet.WasAdded
	case container.ChangeDelete:
		return fleet.WasRemoved
	}
	return fleet.WasChanged
}

// strangePrograms finds what runs from a file that is not the image's.
func strangePrograms(ctx context.Context, engine *client.Client, c container.InspectResponse, diff []container.FilesystemChange, spec fleet.DriftSpec, near bool) ([]fleet.Change, error) {
	top, err := engine.ContainerTop(ctx, c.ID, []string{"-eo", "pid,args"})
	if errdefs.IsConflict(err) || errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%w: %w", fleet.ErrNoNode, err)
	}
	if err != nil {
		return nil, err
	}
	judge := newJudge(c, diff)
	seen := map[string]int{}
	var changes []fleet.Change
	for _, row := range top.Processes {
		pid, program := programOf(row, near)
		if program == "" || pid == c.State.Pid || spec.ProcessAllowed(strings.TrimSuffix(program, deletedProgram)) {
			continue
		}
		how, detail := judge.program(program)
		if how == "" {
			continue
		}
		path := strings.TrimSuffix(program, deletedProgram)
		if i, again := seen[path]; again {
			changes[i].Detail += fmt.Sprintf(", %d", pid)
			continue
		}
		seen[path] = len(changes)
		changes = append(changes, fleet.Change{What: fleet.ChangedProcess, How: how, Path: path, Detail: fmt.Sprintf("%s; pid %d", detail, pid)})
	}
	return changes, nil
}

// deletedProgram is what the kernel adds to the path of a program without a file (proc_pid_exe(5)).
const deletedProgram = " (deleted)"

// programOf is a process of the engine's list and the path of its program: by the kernel's word where that may be asked, else
// the first word of its command line if that is a path. "" when it cannot be told.
func programOf(row []string, near bool) (pid int, program string) {
	if len(row) < 2 {
		return 0, ""
	}
	pid, err := strconv.Atoi(strings.TrimSpace(row[0]))
	if err != nil {
		return 0, ""
	}
	if near {
		program, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
		if err == nil {
			return pid, program
		}
		if errors.Is(err, os.ErrNotExist) {
			return pid, "" // it ended
		}
	}
	if f := strings.Fields(row[1]); len(f) > 0 && strings.HasPrefix(f[0], "/") {
		return pid, f[0]
	}
	return pid, ""
}

// judge knows which files of a container are not the image's.
type judge struct {
	changed map[string]container.ChangeType
	mounts  []string
}

func newJudge(c container.InspectResponse, diff []container.FilesystemChange) judge {
	j := judge{changed: map[string]container.ChangeType{}, mounts: []string{"/dev", "/proc"}}
	for _, f := range diff {
		j.changed[f.Path] = f.Kind
	}
	for _, m := range c.Mounts {
		j.mounts = append(j.mounts, m.Destination)
	}
	return j
}

// program says how a program differs from what the image has there; "" when it does not.
func (j judge) program(path string) (how, detail string) {
	if strings.HasSuffix(path, deletedProgram) {
		return fleet.WasRemoved, "its file is gone"
	}
	for _, m := range j.mounts {
		if strings.HasPrefix(path, m+"/") {
			return fleet.WasAdded, "it lies in " + m
		}
	}
	kind, changed := j.changed[path]
	switch {
	case fleet.Allowed(engineFiles, path), !changed:
		return "", ""
	case kind == container.ChangeAdd:
		return fleet.WasAdded, "the image has no such program"
	case kind == container.ChangeDelete: // a kernel that may not be asked would have said it
		return fleet.WasRemoved, "its file is gone"
	}
	return fleet.WasChanged, "the image has another one"
}
