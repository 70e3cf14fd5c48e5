package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

func (c *cli) execVerb() *cobra.Command {
	var tty, stdin bool
	var env map[string]string
	cmd := &cobra.Command{
		Use: "exec NODE -- COMMAND [ARGS...]", Short: "Run a command in a node, beside its own processes",
		Long: `Runs a command in a node with the node's root, environment and limits, and ends with its exit code. On a
terminal the command gets one too. It is meant for looking: what it changes is drift, which status tells, and is lost with the
node. With --json each line that it prints is an event of type log, and the result has its exit code.`,
		Example:           "  release exec k3f9q -- cat /etc/hostname\n  release exec k3f9q -it -- /bin/sh\n  release exec k3f9q --json -- cat /etc/hostname",
		Args:              execArgs,
		ValidArgsFunction: c.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("tty") {
				tty = c.interactive() && stdoutIsTerminal(c) && !c.out.json
			}
			if tty && c.out.json {
				return fault.New(fault.Invalid, "%s: --tty and --json exclude each other: what a terminal shows is no lines", cmd.CommandPath()).
					WithHint("leave one of them out; --json=false undoes RELEASE_JSON")
			}
			if !cmd.Flags().Changed("interactive") {
				stdin = true
			}
			return c.exec(cmd.Context(), args[0], api.Exec{Command: args[1:], TTY: tty, Env: env}, stdin)
		},
	}
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "give the command a terminal (default: when this is one)")
	cmd.Flags().BoolVarP(&stdin, "interactive", "i", true, "give the command our standard input")
	cmd.Flags().StringToStringVar(&env, "set", nil, "`NAME=VALUE` to add to the command's environment")
	return cmd
}

func execArgs(cmd *cobra.Command, args []string) error {
	if len(args) < 2 {
		return fault.New(fault.Invalid, "%s: a node and a command are needed", cmd.CommandPath()).WithHint("%s", cmd.UseLine())
	}
	return nil
}

func stdoutIsTerminal(c *cli) bool {
	f, ok := c.out.stdout.(*os.File)
	return ok && isTerminal(f)
}

func (c *cli) exec(ctx context.Context, node string, x api.Exec, stdin bool) error {
	app, client, err := c.appIfUsed(ctx)
	if err != nil {
		return err
	}
	streams := api.Streams{Stdout: c.out.stdout, Stderr: c.out.stderr}
	if stdin {
		streams.Stdin = c.stdin
	}
	if x.TTY {
		restore, err := c.rawTerminal(ctx, &x, &streams)
		if err != nil {
			return err
		}
		defer restore()
	}
	if c.out.json {
		return c.execJSON(ctx, client, appOf(app), node, x, streams)
	}
	code, err := client.Exec(ctx, appOf(app), node, x, streams)
	if err != nil {
		return err
	}
	c.out.finished = true // standard output is the command's
	if code != 0 {
		return exitStatus(code)
	}
	return nil
}

// rawTerminal hands the terminal to the command: keys go through as they are, and changes of its size are passed on.
func (c *cli) rawTerminal(ctx context.Context, x *api.Exec, s *api.Streams) (restore func(), err error) {
	f, ok := c.stdin.(*os.File)
	if !ok || !isTerminal(f) {
		return nil, fault.New(fault.Invalid, "release exec: --tty needs a terminal on standard input")
	}
	fd := int(f.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fault.New(fault.Failed, "prepare terminal: %w", err)
	}
	x.Window = windowOf(fd)
	sizes := make(chan api.Window, 1)
	s.Resize = sizes
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGWINCH)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for {
			select {
			case <-signals:
				select {
				case sizes <- windowOf(fd):
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		cancel()
		_ = term.Restore(fd, old)
	}, nil
}

func windowOf(fd int) api.Window {
	columns, rows, err := term.GetSize(fd)
	if err != nil {
		return api.Window{Columns: 80, Rows: 24}
	}
	return api.Window{Columns: columns, Rows: rows}
}
