package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
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
	shared := sync.OnceValues(func() (program, error) { return boot.prepare(ctx) })
	return local.Ensure(spec, d.opts.Boots, func(want fleet.NodeSpec) (fleet.Node, error) { return boot.ensure(ctx, want, shared) })
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
	unlock, err := b.names.Lock(ctx, want.Name)
	if err != nil {
		return fleet.Node{}, err
	}
	defer unlock()
	r, ok, err := b.nodes.Wanted(fleet.NodeID{Fleet: b.spec.Fleet, Node: want.Name})
	if err != nil {
		return fleet.Node{}, err
	}
	if ok && r.State == local.Started {
		return b.view(ctx, r), nil
	}
	if err := ctx.Err(); err != nil {
		return fleet.Node{}, err
	}
	p, err := shared()
	if err != nil {
		return fleet.Node{}, err
	}
	r, err = b.bootNode(ctx, want, p)
	if errors.Is(err, sandbox.ErrUnsure) && r.Kind == fleet.Once {
		b.opts.Log.Warn("a job was ended while it was started, and is not run again", "node", want.Name, "error", err)
		return b.view(ctx, r), nil
	}
	if err != nil {
		return fleet.Node{}, errors.Join(local.Explain(err, b.opts.Dir), b.clear(r))
	}
	b.watch.Send(r.ID.Fleet)
	return b.view(ctx, r), nil
}

// bootNode starts a node. Whatever it returns an error for is to be cleared.
func (b *booter) bootNode(ctx context.Context, want fleet.NodeSpec, p program) (record, error) {
	r := record{Record: local.NewRecord(b.opts.Installation, b.spec, want, b.opts.Now()),
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
		Detach:     &sandbox.Detach{Dir: b.nodes.Dir(want.Name), LogBytes: b.opts.LogBytes, LogKeep: b.opts.LogKeep},
		Prepare: func(process *sandbox.Process) error {
			if err := b.network.attach(process.PID, want.Slot); err != nil {
				return err
			}
			failpoint.Pass(failpoint.NodeForked)
			r.State, r.PID, r.StartTime, r.BootID = local.Started, process.PID, process.StartTime, process.BootID
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
	return filepath.Join(d.nodes.Dir(r.ID.Node), name)
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
	dir := d.nodes.Dir(r.ID.Node)
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
