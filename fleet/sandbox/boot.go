package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/removal"
	"github.com/bootandshoot/release/sandbox"
)

// Prepare unpacks the image.
func (d *Driver) Prepare(ctx context.Context, spec fleet.Spec) error {
	return d.PrepareReporting(ctx, spec, nil)
}

// PrepareReporting implements fleet.ProgressPreparer.
func (d *Driver) PrepareReporting(ctx context.Context, spec fleet.Spec, report func(fleet.Progress)) error {
	var unpacked func(done, total int64)
	if report != nil {
		unpacked = func(done, total int64) { report(fleet.Progress{Doing: "unpacking", Done: done, Total: total}) }
	}
	if _, err := d.load(ctx, spec, unpacked); err != nil {
		return fmt.Errorf("prepare image %s: %w", spec.Image, err)
	}
	return nil
}

// program is what an image says of how to run it.
type program struct {
	root    string
	command []string
	env     []string
	dir     string
	user    string
}

// load gives the image's program; unpacked is told how far its unpacking is, nil is none.
func (d *Driver) load(ctx context.Context, spec fleet.Spec, unpacked func(done, total int64)) (program, error) {
	digest := images.Digest(spec.Image)
	image, err := d.opts.Images.Get(digest)
	if err != nil {
		return program{}, err
	}
	root, err := d.opts.Images.RootfsReporting(ctx, digest, unpacked)
	if err != nil {
		return program{}, err
	}
	c := image.Config.Config
	p := program{root: root, command: image.Command(), env: c.Env, dir: c.WorkingDir, user: c.User}
	if len(spec.Command) > 0 {
		p.command = spec.Command
	}
	if len(p.command) == 0 {
		return program{}, fault.New(fault.Invalid, "the image has no command to run").
			WithHint("give the recipe an `entrypoint:` or `services:`")
	}
	return p, nil
}

// Ensure boots the nodes that do not exist yet, several at a time.
func (d *Driver) Ensure(ctx context.Context, spec fleet.Spec) ([]fleet.Node, error) {
	boot := &booter{Driver: d, spec: spec}
	nodes := make([]*fleet.Node, len(spec.Nodes))
	errs := make([]error, len(spec.Nodes))
	var group errgroup.Group
	group.SetLimit(d.opts.Boots)
	shared := sync.OnceValues(func() (program, error) { return boot.prepare(ctx) })
	for i, want := range spec.Nodes {
		group.Go(func() error {
			n, err := boot.ensure(ctx, want, shared)
			if err != nil {
				errs[i] = fmt.Errorf("boot node %s: %w", want.Name, err)
				return nil
			}
			nodes[i] = &n
			return nil
		})
	}
	_ = group.Wait()
	var booted []fleet.Node
	for _, n := range nodes {
		if n != nil {
			booted = append(booted, *n)
		}
	}
	return booted, errors.Join(errs...)
}

// booter boots nodes of one spec.
type booter struct {
	*Driver
	spec fleet.Spec
}

// prepare does what all nodes of a call have in common, when the first one that is not there yet needs it.
func (b *booter) prepare(ctx context.Context) (program, error) {
	p, err := b.load(ctx, b.spec, nil)
	if err != nil {
		return program{}, fmt.Errorf("prepare image %s: %w", b.spec.Image, err)
	}
	return p, nil
}

func (b *booter) ensure(ctx context.Context, want fleet.NodeSpec, shared func() (program, error)) (fleet.Node, error) {
	if !nodeName.MatchString(want.Name) {
		return fleet.Node{}, fault.New(fault.Invalid, "node name %q is not lower-case letters, digits and hyphens", want.Name)
	}
	unlock, err := b.names.Lock(ctx, want.Name)
	if err != nil {
		return fleet.Node{}, err
	}
	defer unlock()
	switch r, err := b.readRecord(want.Name); {
	case err == nil && (r.Installation != b.opts.Installation || r.ID.Fleet != b.spec.Fleet):
		return fleet.Node{}, fault.New(fault.Exists, "the name belongs to a node of %s", r.ID.Fleet)
	case err == nil && r.State == stateStarted:
		return b.view(ctx, r), nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fleet.Node{}, err
	}
	if err := ctx.Err(); err != nil {
		return fleet.Node{}, err
	}
	p, err := shared()
	if err != nil {
		return fleet.Node{}, err
	}
	r, err := b.bootNode(ctx, want, p)
	if errors.Is(err, sandbox.ErrUnsure) && r.Kind == fleet.Once {
		b.opts.Log.Warn("a job was ended while it was started, and is not run again", "node", want.Name, "error", err)
		return b.view(ctx, r), nil
	}
	if err != nil {
		return fleet.Node{}, errors.Join(b.explain(err), b.clear(r))
	}
	b.watch.Send(r.ID.Fleet)
	return b.view(ctx, r), nil
}

// explain adds the next step to what the disk refuses.
func (d *Driver) explain(err error) error {
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fault.New(fault.NoSpace, "%w", err).WithHint("free space or inodes: df -h %s; df -i %s", d.opts.Dir, d.opts.Dir)
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, "%w", err).WithHint("%s must belong to the user of the agent", d.opts.Dir)
	}
	return err
}

// bootNode starts a node. Whatever it returns an error for is to be cleared.
func (b *booter) bootNode(ctx context.Context, want fleet.NodeSpec, p program) (record, error) {
	r := record{State: stateBooting, ID: fleet.NodeID{Fleet: b.spec.Fleet, Node: want.Name}, Installation: b.opts.Installation,
		Kind: b.spec.Kind, Image: b.spec.Image, Slot: want.Slot, StopSignal: b.spec.Stop.Signal, Since: b.opts.Now().UTC(),
		Cgroup: shortHash(b.opts.Installation) + "-" + want.Name, Volumes: b.spec.Volumes}
	if _, err := stopSignal(r.StopSignal); err != nil {
		return r, err
	}
	port, address, err := b.network.place(want.Slot, b.spec.Port)
	if err != nil {
		return r, err
	}
	r.Address = address
	mounts, err := b.makeRoom(ctx, r, p.root)
	if err != nil {
		return r, err
	}
	failpoint.Pass(failpoint.NodeRecorded)
	// Behind the record: from then on nobody folds the network, which may have been folded a moment before.
	if err := b.network.open(ctx); err != nil {
		return r, err
	}
	process, err := sandbox.Start(ctx, sandbox.Spec{
		Root:     sandbox.Root{Lower: []string{p.root}, Upper: b.inNode(r, "upper"), Work: b.inNode(r, "work")},
		Mounts:   mounts,
		Command:  p.command,
		Env:      b.environment(want.Name, port, p.env),
		Dir:      p.dir,
		User:     p.user,
		Hostname: want.Name,
		Network:  b.network.mode(),
		Limits:   sandbox.Limits{CPUs: b.spec.Resources.CPUs, Memory: b.spec.Resources.Memory, Pids: b.opts.Pids},

		CgroupName: r.Cgroup,
		Detach:     &sandbox.Detach{Dir: b.nodeDir(want.Name), LogBytes: b.opts.LogBytes, LogKeep: b.opts.LogKeep},
		Prepare: func(process *sandbox.Process) error {
			if err := b.network.attach(process.PID, want.Slot); err != nil {
				return err
			}
			failpoint.Pass(failpoint.NodeForked)
			r.State, r.PID, r.StartTime, r.BootID = stateStarted, process.PID, process.StartTime, process.BootID
			if err := b.writeRecord(r); err != nil {
				return err
			}
			b.afterRecord()
			failpoint.Pass(failpoint.NodeReady)
			return nil
		},
	})
	if err != nil {
		return r, err
	}
	failpoint.Pass(failpoint.NodeStarted)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.follow(r.ID, process)
	return r, nil
}

func (d *Driver) inNode(r record, name string) string {
	return filepath.Join(d.nodeDir(r.ID.Node), name)
}

// makeRoom makes a node's folder and volumes.
func (b *booter) makeRoom(ctx context.Context, r record, root string) ([]sandbox.Mount, error) {
	if len(r.Volumes) == 0 {
		return nil, b.makeFolder(r, root)
	}
	b.volumes.Lock()
	defer b.volumes.Unlock()
	mounts, err := b.giveVolumes(ctx, r, root)
	if err != nil {
		return nil, err
	}
	return mounts, b.makeFolder(r, root)
}

// makeFolder makes a node's folder, with the record first: from then on a crash leaves something that is found.
func (d *Driver) makeFolder(r record, root string) error {
	dir := d.nodeDir(r.ID.Node)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make node folder: %w", err)
	}
	if err := d.writeRecord(r); err != nil {
		return err
	}
	for _, name := range []string{"upper", "work"} {
		// What an earlier try left is no start for this one.
		if err := removal.Tree(filepath.Join(dir, name)); err != nil {
			return err
		}
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return fmt.Errorf("make node folder: %w", err)
		}
	}
	return likeRoot(filepath.Join(dir, "upper"), root)
}

// likeRoot gives the upper folder the owner and mode of the image's root: it is what the node sees as "/".
func likeRoot(upper, root string) error {
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		return fmt.Errorf("read image root: %w", err)
	}
	if err := os.Chown(upper, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("make node folder: %w", err)
	}
	return unix.Chmod(upper, st.Mode&0o7777)
}

// environment is the image's, the spec's and ours, the later ones winning.
func (b *booter) environment(name string, port int, image []string) []string {
	env := map[string]string{"HOSTNAME": name}
	for _, kv := range image {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	maps.Copy(env, b.spec.Env)
	maps.Copy(env, b.spec.Secrets)
	if port != 0 {
		env["PORT"] = strconv.Itoa(port)
	}
	var list []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}
