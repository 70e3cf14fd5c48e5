package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

func (c *cli) agentVerb() *cobra.Command {
	cmd := c.agentRun("agent [run]")
	cmd.Short, cmd.Args = "The agent: run it, look at it, stop it", onlyVerbs
	cmd.Long = `The agent keeps fleets and routes as they should be. Verbs that need it start one in the background when none
answers; in production a service manager runs release agent. Ending it touches neither traffic nor nodes.`
	cmd.AddCommand(c.agentRun("run"), c.agentStatus(), c.agentStop(), c.agentLogs())
	return cmd
}

func (c *cli) agentRun(use string) *cobra.Command {
	var settings string
	cmd := &cobra.Command{
		Use: use, Short: "Run the agent in the foreground",
		Example: "  release agent run\n  release agent run --settings /etc/release/agent.yaml",
		Args:    noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if done, err := c.enterNamespace(); done || err != nil {
				return err
			}
			return c.runAgent(cmd.Context(), settings)
		},
	}
	cmd.Flags().StringVar(&settings, "settings", "", "the machine's `file` agent.yaml (default: the user's, else the system's)")
	_ = cmd.MarkFlagFilename("settings", "yaml", "yml")
	return cmd
}

func (c *cli) runAgent(ctx context.Context, settingsPath string) error {
	signal.Ignore(syscall.SIGPIPE) // the log's reader may go; we do not
	level := slog.LevelInfo
	if c.flags.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(c.out.stderr, &slog.HandlerOptions{Level: level}))
	settings, err := c.settings(settingsPath)
	if err != nil {
		return err
	}
	a, err := c.newAgent(ctx, settings, log)
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	if err := a.run(ctx); err != nil && !fault.Is(context.Cause(ctx), fault.Interrupted) {
		return err
	}
	return nil
}

func (c *cli) agentStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say whether an agent runs; starts none", Example: "  release agent status --json", Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, a, err := c.reach(cmd.Context())
			if err != nil && !errors.Is(err, api.ErrNoAgent) {
				return err
			}
			dir, dirErr := c.stateDir()
			if dirErr != nil {
				return dirErr
			}
			r := api.AgentResult{
				Head: api.NewHead(nil), Running: err == nil, PID: a.PID, Socket: client.Socket, Version: a.Version, Since: a.Since,
				StateDir: dir, Name: a.Name, Role: a.Role, Leader: a.Leader, Why: a.Why, Found: a.Found,
			}
			return c.out.result(r, func(w io.Writer) {
				if !r.Running {
					fmt.Fprintf(w, "no agent answers at %s\n", r.Socket)
					return
				}
				fmt.Fprintf(w, "agent %s runs: pid %d, since %s, socket %s\n", r.Version, r.PID, r.Since.Local().Format(time.DateTime), r.Socket)
				sayStanding(w, r)
				c.out.sayFound(a.Found)
			})
		},
	}
}

// sayStanding says of an agent that does not lead which one does.
func sayStanding(w io.Writer, r api.AgentResult) {
	if r.Role != api.RoleStandby {
		return
	}
	leader := r.Leader + " leads"
	if r.Leader == "" || r.Leader == r.Name {
		leader = "nobody leads yet"
	}
	fmt.Fprintf(w, "it stands by as %s: %s\n", r.Name, leader)
	if r.Why != "" {
		fmt.Fprintf(w, "it could not take over: %s\n", r.Why)
	}
}

// stopTime bounds how long agent stop waits for the process to end.
const stopTime = 30 * time.Second

func (c *cli) agentStop() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "stop", Short: "End the agent; router and nodes go on", Example: "  release agent stop", Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, a, err := c.reach(cmd.Context())
			if err != nil && !errors.Is(err, api.ErrNoAgent) {
				return err
			}
			r := api.AgentResult{Head: api.NewHead(nil), PID: a.PID, Socket: client.Socket, Version: a.Version, DryRun: dry}
			if err != nil {
				return c.out.result(r, func(w io.Writer) { fmt.Fprintln(w, "no agent runs") })
			}
			if r.Running = dry; dry {
				return c.out.result(r, c.tried("the agent %d would end; router and nodes would go on", a.PID))
			}
			if err := client.Stop(cmd.Context()); err != nil {
				return err
			}
			if err := awaitEnd(cmd.Context(), a.PID); err != nil {
				return fmt.Errorf("stop agent: %w", err)
			}
			return c.out.result(r, func(w io.Writer) { fmt.Fprintf(w, "agent %d ended; router and nodes go on\n", a.PID) })
		},
	}
	dryRunFlag(cmd, &dry)
	return cmd
}

// awaitEnd waits until no process has the id.
func awaitEnd(ctx context.Context, pid int) error {
	over := fault.New(fault.Running, "process %d did not end within %s", pid, span(stopTime))
	ctx, cancel := context.WithTimeoutCause(ctx, stopTime, over)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if !alive(pid) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// alive says whether a process runs; one that ended but was not reaped does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist) && syscall.Kill(pid, 0) == nil
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func (c *cli) agentLogs() *cobra.Command {
	return &cobra.Command{
		Use: "logs", Short: "Print the log of the agent that runs in the background", Example: "  release agent logs | tail", Args: noArgs(),
		RunE: func(*cobra.Command, []string) error {
			dir, err := c.stateDir()
			if err != nil {
				return err
			}
			f, err := os.Open(filepath.Join(dir, "agent.log"))
			if errors.Is(err, os.ErrNotExist) {
				return fault.New(fault.NotFound, "show the agent's log: no agent ran in the background with %s", dir)
			}
			if err != nil {
				return fmt.Errorf("show the agent's log: %w", err)
			}
			defer f.Close()
			_, err = io.Copy(c.out.stdout, f)
			return err
		},
	}
}
