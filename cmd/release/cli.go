package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/internal/fault"
)

// cli is one run of the program.
type cli struct {
	stdin  io.Reader
	env    func(string) (string, bool)
	out    *output
	flags  globals
	cancel context.CancelFunc // ends the time given by --timeout
	unhang func()             // ends the watch for hangups
}

// globals are the flags of every verb.
type globals struct {
	config  string
	env     string
	json    bool
	quiet   bool
	verbose bool
	yes     bool
	timeout time.Duration
	noColor bool
	agent   string
}

func newCLI(stdin io.Reader, stdout, stderr io.Writer, env func(string) (string, bool)) *cli {
	return &cli{stdin: stdin, env: env, out: newOutput(stdout, stderr, env), cancel: func() {}, unhang: func() {}}
}

// getenv is a variable's value, "" when it is not set.
func (c *cli) getenv(name string) string {
	v, _ := c.env(name)
	return v
}

// execute runs one command line and returns the process's exit code.
func execute(ctx context.Context, c *cli, args []string) int {
	root := newRoot(c)
	root.SetArgs(args)
	root.SetIn(c.stdin)
	root.SetOut(c.out.stdout)
	root.SetErr(c.out.stderr)
	c.out.json = asksJSON(args, c.getenv("RELEASE_JSON")) // also for mistakes in the flags themselves
	defer func() { c.cancel(); c.unhang() }()
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	err = ended(cmd.Context(), err)
	c.out.fail(err)
	return fault.CodeOf(err).ExitCode()
}

// exitStatus is an exit code that needs no message: that of a command run in a node.
type exitStatus int

func (e exitStatus) Error() string { return "exit status" }

// ended says why a context ended when that is all that err says.
func ended(ctx context.Context, err error) error {
	if ctx == nil || ctx.Err() == nil || !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return context.Cause(ctx)
}

// asksJSON looks for --json before the flags are parsed.
func asksJSON(args []string, variable string) bool {
	for _, a := range args {
		switch a {
		case "--json", "--json=true":
			return true
		case "--json=false":
			return false
		case "--":
			return truth(variable)
		}
	}
	return truth(variable)
}

// begin reads the global flags' variables and prepares the output; it runs before every verb.
func (c *cli) begin(cmd *cobra.Command, _ []string) error {
	if err := c.fillFromEnvironment(cmd); err != nil {
		return err
	}
	c.out.configure(c.flags)
	if !ownsHangup(cmd) {
		ctx, stop := endAtHangup(cmd.Context())
		cmd.SetContext(ctx)
		c.unhang = stop
	}
	if c.flags.timeout < 0 {
		return fault.New(fault.Invalid, "read --timeout: %s is negative", span(c.flags.timeout))
	}
	if c.flags.timeout > 0 {
		over := fault.New(fault.Running, "the %s given by --timeout are over", span(c.flags.timeout))
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), c.flags.timeout, over)
		c.cancel = cancel
		cmd.SetContext(ctx)
	}
	return nil
}

// interactive says whether a person can be asked.
func (c *cli) interactive() bool {
	f, ok := c.stdin.(*os.File)
	return ok && isTerminal(f) && c.out.terminal && !truth(c.getenv("CI"))
}
