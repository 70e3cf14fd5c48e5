package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/removal"
	"github.com/bootandshoot/release/sandbox"
)

// shellOptions is how a command runs in an image.
type shellOptions struct {
	network bool
	user    string
	workdir string
}

func (c *cli) imagesShell() *cobra.Command {
	var o shellOptions
	cmd := &cobra.Command{
		Use: "shell IMAGE [-- COMMAND [ARGS...]]", Short: "Run a command, or a shell, in a throw-away sandbox over an image",
		Long: `Runs a command in a sandbox whose root is the image, with the image's environment, user and working folder, and ends
with its exit code. What it writes is thrown away when it ends. There is no network unless it is asked for. Standard output has
the command's bytes and nothing else; on a terminal the command gets one of its own. Without COMMAND it is the image's shell.`,
		Example: "  release images shell shop\n  release images shell r8 -- dpkg -l\n  release images shell shop --user root -- cat /etc/shadow",
		Args:    between(1, -1, "the image"), ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			if done, err := c.enterNamespace(); done || err != nil {
				return err
			}
			store, digest, err := c.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			code, err := c.runInImage(cmd.Context(), store, digest, args[1:], o)
			if err != nil {
				return ended(cmd.Context(), err)
			}
			c.out.finished = true // standard output is the command's
			if code != 0 {
				return exitStatus(code)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&o.network, "network", false, "share this machine's network")
	cmd.Flags().StringVarP(&o.user, "user", "u", "", "`name` or id to run as (default: the image's)")
	cmd.Flags().StringVarP(&o.workdir, "workdir", "w", "", "`folder` to run in (default: the image's)")
	return cmd
}

// runInImage runs a command over an image and gives its exit code.
func (c *cli) runInImage(ctx context.Context, store *images.Store, d images.Digest, command []string, o shellOptions) (int, error) {
	release, err := store.Hold(ctx) // or a collection might take the root away meanwhile
	if err != nil {
		return 0, err
	}
	defer release()
	img, err := store.Get(d)
	if err != nil {
		return 0, err
	}
	if command, err = shellCommand(ctx, store, d, command); err != nil {
		return 0, err
	}
	root, err := store.Rootfs(ctx, d)
	if err != nil {
		return 0, err
	}
	over, err := throwAway(store, root)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err := removal.Tree(filepath.Dir(over.Upper)); err != nil {
			c.out.note("%s cannot remove what the command wrote: %v", c.out.yellow("note:"), err)
		}
	}()
	cfg := img.Config.Config
	spec := sandbox.Spec{
		Root: over, Command: command, Env: slices.Clone(cfg.Env), Dir: cmp.Or(o.workdir, cfg.WorkingDir), User: cmp.Or(o.user, cfg.User),
		Hostname: "image-" + d.Short(), Network: sandbox.NoNetwork, Stdin: c.stdin, Stdout: c.out.stdout, Stderr: c.out.stderr,
	}
	if o.network {
		spec.Network = sandbox.HostNetwork
	}
	restore, err := c.giveTerminal(&spec)
	if err != nil {
		return 0, err
	}
	exit, err := sandbox.Run(ctx, spec)
	restore()
	if err == nil && exit.Reason != "" {
		c.out.note("%s %s", c.out.red("error:"), exit.Reason)
	}
	return exit.Code, err
}

// shells are what an image may have, the one people like best first.
var shells = [...]string{"/bin/bash", "/bin/sh", "/busybox/sh"}

// shellCommand is the command that was asked for, else the image's shell.
func shellCommand(ctx context.Context, store *images.Store, d images.Digest, command []string) ([]string, error) {
	if len(command) > 0 {
		return command, nil
	}
	files, err := store.Files(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, sh := range shells {
		if n, err := files.Resolve(sh); err == nil && n.Type == images.File {
			return []string{sh}, nil
		}
	}
	return nil, fault.New(fault.Invalid, "run a shell in image %s: it has none of %s", d.Short(), strings.Join(shells[:], ", ")).
		WithHint("name a program of it after --, or look with: release images tree %s", d.Short())
}

// throwAway makes an upper folder for an image's root, in the store's cache folder: overlays need a disk that holds their
// attributes, which a temporary folder's may not.
func throwAway(store *images.Store, root string) (sandbox.Root, error) {
	parent := filepath.Join(store.Dir(), "cache", "shell")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return sandbox.Root{}, fault.New(fault.Denied, "make a throw-away folder: %w", err).WithHint("choose a folder of your own with RELEASE_IMAGES_DIR")
	}
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		return sandbox.Root{}, err
	}
	r := sandbox.Root{Lower: []string{root}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	var st unix.Stat_t
	err = errors.Join(os.Mkdir(r.Upper, 0o755), os.Mkdir(r.Work, 0o755), unix.Stat(root, &st))
	if err == nil { // the upper folder is what the command sees as /
		err = errors.Join(os.Chown(r.Upper, int(st.Uid), int(st.Gid)), unix.Chmod(r.Upper, st.Mode&0o7777))
	}
	if err != nil {
		return r, errors.Join(fault.New(fault.Failed, "make a throw-away folder: %w", err), removal.Tree(dir))
	}
	return r, nil
}

// giveTerminal gives the command a terminal of its own when ours is one: keys go through as they are, and changes of its
// size are passed on.
func (c *cli) giveTerminal(spec *sandbox.Spec) (restore func(), err error) {
	f, ok := c.stdin.(*os.File)
	if !ok || !isTerminal(f) || !stdoutIsTerminal(c) {
		return func() {}, nil
	}
	fd := int(f.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fault.New(fault.Failed, "prepare terminal: %w", err)
	}
	w := windowOf(fd)
	sizes, done := make(chan [2]int), make(chan struct{})
	spec.TTY = &sandbox.TTY{Columns: w.Columns, Rows: w.Rows, Resize: sizes}
	if name := c.getenv("TERM"); name != "" {
		spec.Env = append(spec.Env, "TERM="+name)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGWINCH)
	go func() {
		for {
			select {
			case <-signals:
				w := windowOf(fd)
				select {
				case sizes <- [2]int{w.Columns, w.Rows}:
				case <-done:
					return
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
		_ = term.Restore(fd, old)
	}, nil
}
