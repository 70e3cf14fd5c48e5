package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/builder/secrets"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/removal"
	"github.com/bootandshoot/release/recipes"
	"github.com/bootandshoot/release/sandbox"
)

// runStep executes a command in the image's root and keeps what it changed.
type runStep struct{ recipes.Run }

func (r *runStep) name() string         { return short("run " + commandText(r.Cmd)) }
func (r *runStep) at() recipes.Position { return r.Pos }

// commandText is a command as the recipe has it.
func commandText(cmd []string) string {
	if len(cmd) == 3 && cmd[0] == "/bin/sh" && cmd[1] == "-c" {
		return cmd[2]
	}
	return strings.Join(cmd, " ")
}

// tailLines is how much of a failed command's output its error repeats.
const tailLines = 20

func (r *runStep) make(ctx context.Context, b *bake, st *state) (outcome, error) {
	env := b.runEnv(r.Env)
	dir := cmp.Or(r.Workdir, b.recipe.Workdir, "/")
	key := keyOf("run", r.Cmd, env, r.User, dir, r.Network, r.Secrets, b.epoch, platformText(b.platform), st.chain())
	if out, ok := b.cached(key); ok {
		return out, nil
	}
	if r.Network && b.o.Offline {
		return outcome{}, offline("run a command that uses the network")
	}
	emulator, err := sandbox.Emulator(b.platform.Architecture)
	if err != nil {
		return outcome{}, err
	}
	mounts, err := r.secretMounts(b)
	if err != nil {
		return outcome{}, err
	}
	root, err := b.makeRoot(ctx, st)
	if err != nil {
		return outcome{}, err
	}
	defer func() {
		if err := removal.Tree(root.dir); err != nil {
			b.log.Warn("cannot remove the folder of a run step", "folder", root.dir, "error", err)
		}
	}()
	spec := sandbox.Spec{Root: root.Root, Command: r.Cmd, Env: env, Dir: dir, User: r.User, Fixed: true, Network: sandbox.NoNetwork, Mounts: mounts, Emulator: emulator}
	if r.Network {
		spec.Network = sandbox.HostNetwork
	}
	if err := r.execute(ctx, b, spec); err != nil {
		return outcome{}, err
	}
	layer, err := b.capture(ctx, st, root.Upper, r.name())
	if err != nil {
		return outcome{}, err
	}
	return outcome{layer: layer}, b.cache.saveStep(record{Step: r.name(), Layer: layer}, key)
}

// runEnv is the whole environment of a run step: the image's, the step's, and what is fixed.
func (b *bake) runEnv(own map[string]string) []string {
	values := map[string]string{} // HOME comes from the user, in the sandbox
	for _, kv := range b.env {
		name, value, _ := strings.Cut(kv, "=")
		values[name] = value
	}
	maps.Copy(values, own)
	maps.Copy(values, map[string]string{"TZ": "UTC", "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": strconv.FormatInt(b.epoch, 10)})
	list := make([]string, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, name+"="+values[name])
	}
	return list
}

// stepRoot is the overlay of one run step in a folder of its own.
type stepRoot struct {
	sandbox.Root
	dir string
}

// makeRoot makes an overlay over the layers so far.
func (b *bake) makeRoot(ctx context.Context, st *state) (stepRoot, error) {
	w, err := b.workspace()
	if err != nil {
		return stepRoot{}, err
	}
	var r stepRoot
	if r.dir, err = w.dir("run-"); err != nil {
		return stepRoot{}, err
	}
	if r.Lower, err = b.lowers(ctx, st); err != nil {
		return stepRoot{}, errors.Join(err, removal.Tree(r.dir))
	}
	r.Upper, r.Work = r.dir+"/upper", r.dir+"/work"
	for _, d := range []string{r.Upper, r.Work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return stepRoot{}, fmt.Errorf("make overlay: %w", err)
		}
	}
	if len(r.Lower) == 0 {
		empty := r.dir + "/empty"
		r.Lower = []string{empty}
		if err := os.Mkdir(empty, 0o755); err != nil {
			return stepRoot{}, fmt.Errorf("make overlay: %w", err)
		}
	}
	return r, likeRoot(r.Upper, r.Lower[0])
}

// likeRoot gives the upper folder the attributes of the lower one: it is what the command sees as /.
func likeRoot(upper, lower string) error {
	var st unix.Stat_t
	if err := unix.Stat(lower, &st); err != nil {
		return fmt.Errorf("make overlay: %w", err)
	}
	if err := os.Chown(upper, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("make overlay: %w", err)
	}
	return unix.Chmod(upper, st.Mode&0o7777)
}

// lowers gives the unpacked layers, topmost first: the base as one folder, each later one by itself.
func (b *bake) lowers(ctx context.Context, st *state) ([]string, error) {
	var list []string
	if st.base != "" && st.under > 0 {
		root, err := b.store.Rootfs(ctx, st.base)
		if err != nil {
			return nil, err
		}
		list = append(list, root)
	}
	for _, l := range st.layers[st.under:] {
		root, err := b.store.LayerRoot(ctx, l)
		if err != nil {
			return nil, err
		}
		list = append(list, root)
	}
	slices.Reverse(list)
	return list, nil
}

// execute runs the command. A failure's error has the end of what it wrote.
func (r *runStep) execute(ctx context.Context, b *bake, spec sandbox.Spec) error {
	out := &lineWriter{keep: tailLines, mask: b.values, line: func(text string) {
		b.report.emit(Event{Kind: Output, Step: r.name(), Line: text})
	}}
	spec.Stdout, spec.Stderr = out, out
	exit, err := sandbox.Run(ctx, spec)
	out.flush()
	if err != nil {
		return err
	}
	if exit.Code == 0 {
		return nil
	}
	return failed(exit, out.tail, b.lacksIDs())
}

// failed describes a command that did not end well.
func failed(exit sandbox.Exit, tail []string, lacksIDs bool) error {
	text := fmt.Sprintf("the command ended with exit code %d", exit.Code)
	if exit.Signal != "" {
		text = "the command was ended by signal " + exit.Signal
	}
	if exit.Reason != "" {
		text += " (" + exit.Reason + ")"
	}
	if len(tail) > 0 {
		text += ", its last output was:\n  " + strings.Join(tail, "\n  ")
	}
	err := fault.New(fault.Failed, "%s", text)
	switch {
	case lacksIDs:
		return err.WithHint("commands cannot use other owners than root here; if that is the cause, %s", sandbox.IDsHint())
	case exit.Code == 127:
		return err.WithHint("the image has no such program at this point: steps run from the top of the recipe to its end, so what brings it must stand above")
	}
	return err
}

// lacksIDs reports whether sandboxes have root's id only, so that a command cannot give files to others.
func (b *bake) lacksIDs() bool {
	return !sandbox.AllIDs()
}

// lineWriter hands output on by line, with build secrets masked, and keeps its end.
type lineWriter struct {
	keep int
	mask *secrets.Values // nil for none
	line func(string)
	tail []string
	rest []byte
}

// maxLine bounds a line; a longer one is cut in pieces.
const maxLine = 4096

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := slices.Index(p, '\n')
		if i < 0 {
			w.rest = append(w.rest, p...)
			p = nil
		} else {
			w.rest = append(w.rest, p[:i]...)
			p = p[i+1:]
			w.emit()
		}
		w.cut()
	}
	return n, nil
}

// cut hands on the beginning of a long line. What is masked is not cut: as much as that may be stays behind.
func (w *lineWriter) cut() {
	margin := 0
	if w.mask != nil {
		margin = w.mask.Margin()
	}
	for len(w.rest) > maxLine+margin {
		if w.mask != nil {
			w.rest = []byte(w.mask.Mask(string(w.rest)))
			if len(w.rest) <= maxLine+margin {
				return
			}
		}
		long := w.rest
		w.rest = long[:maxLine]
		w.emit()
		w.rest = slices.Clone(long[maxLine:])
	}
}

func (w *lineWriter) emit() {
	text := strings.TrimRight(string(w.rest), "\r")
	if w.mask != nil {
		text = w.mask.Mask(text)
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	w.rest = w.rest[:0]
	w.tail = append(w.tail, text)
	if len(w.tail) > w.keep {
		w.tail = w.tail[1:]
	}
	w.line(text)
}

func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.emit()
	}
}
