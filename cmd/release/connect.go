package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/orchestrator/hook"
)

// agentStart bounds how long a new agent may take until it answers.
const agentStart = 30 * time.Second

// reach is a client of the agent that runs, api.ErrNoAgent if none does.
func (c *cli) reach(ctx context.Context) (*api.Client, api.Agent, error) {
	socket, _, err := c.socket()
	if err != nil {
		return nil, api.Agent{}, err
	}
	client := api.NewClient(socket)
	agent, err := ask(ctx, client, agentAnswers)
	return client, agent, err
}

// agentAnswers bounds how long an agent may take to say who it is. It reads nothing for that.
const agentAnswers = 30 * time.Second

// ask asks who answers. An agent that takes the connection and says nothing is there, and so is one that is not ours to speak to:
// no other is started beside it.
func ask(ctx context.Context, client *api.Client, within time.Duration) (api.Agent, error) {
	var agent api.Agent
	hangs, err := answered(ctx, within, func(ctx context.Context) (err error) {
		agent, err = client.Agent(ctx)
		return err
	})
	switch {
	case hangs:
		err = fault.New(fault.Unavailable, "the agent at %s takes connections, but did not answer within %s", client.Socket, span(within)).
			WithHint("ss -lxp shows its process: kill it; router and nodes go on, and the next command starts another")
	case errors.Is(err, fs.ErrPermission):
		err = fault.New(fault.Denied, "ask the agent at %s: it is another user's", client.Socket).
			WithHint("run the command as that user; RELEASE_STATE_DIR names a state folder of your own")
	}
	return agent, err
}

// answered asks for at most that long, and says whether nothing came though the caller's own time is not over.
func answered(ctx context.Context, within time.Duration, ask func(context.Context) error) (hangs bool, err error) {
	asked, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err = ask(asked)
	return err != nil && asked.Err() != nil && ctx.Err() == nil, err
}

// appAndAgent is the app of the file, and the agent.
func (c *cli) appAndAgent(ctx context.Context) (*config.App, *api.Client, error) {
	return c.appWith(ctx, c.connect)
}

func (c *cli) appWith(ctx context.Context, connect func(context.Context) (*api.Client, error)) (*config.App, *api.Client, error) {
	app, err := c.app()
	if err != nil {
		return nil, nil, err
	}
	client, err := connect(ctx)
	return app, client, err
}

// connect is a client of the agent, which is started in the background when none answers. An agent that the user
// named is not started: it may be another user's.
func (c *cli) connect(ctx context.Context) (*api.Client, error) {
	client, agent, err := c.reach(ctx)
	if err == nil || !errors.Is(err, api.ErrNoAgent) {
		c.out.sayFound(agent.Found)
		return client, err
	}
	if _, named, _ := c.socket(); named {
		return nil, noAgent(client.Socket, err)
	}
	c.out.note("no agent answers: starting one in the background (release agent stop ends it)")
	if err := c.startAgent(ctx, client); err != nil {
		return client, err
	}
	c.out.sayFound(awaitLead(ctx, client).Found)
	return client, nil
}

// awaitLead gives an agent that was just started the time to know what it leads.
func awaitLead(ctx context.Context, client *api.Client) api.Agent {
	ctx, cancel := context.WithTimeout(ctx, leadSoon)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		agent, err := client.Agent(ctx)
		if err != nil || agent.Role == api.RoleLeader {
			return agent
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return agent
		}
	}
}

// leadSoon is how long that is: one that waits for another to let go of the lead says so by itself.
const leadSoon = 2 * time.Second

// sayFound says loudly what runs without a record, and what to do.
func (o *output) sayFound(list []api.Found) {
	if len(list) == 0 || o.quiet {
		return
	}
	for _, f := range list {
		where := ""
		if f.Listen != "" {
			where = fmt.Sprintf(", %d %% of %s", f.Percent, f.Listen)
		}
		o.note("%s the agent's store has no record of %s, which runs (%s%s)", o.red("warning:"), f.Fleet, human.Count(f.Nodes, "node"), where)
	}
	o.note("  its store was lost or put back from an older copy; users are served as they were")
	o.note("  %s stop the agent, put a copy of %s back and start it; or release up takes the app over without a gap, release destroy ends it", o.cyan("→"), storeFile)
}

func noAgent(socket string, cause error) error {
	e := fault.New(fault.Unavailable, "no agent answers at %s", socket).WithHint("release agent run starts one in the foreground")
	e.Cause = cause
	return e
}

// startAgent starts an agent that outlives this process and waits until it answers.
func (c *cli) startAgent(ctx context.Context, client *api.Client) error {
	dir, err := c.stateDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.New(fault.Denied, "start agent: make the state folder: %w", err).WithHint("RELEASE_STATE_DIR names another one")
	}
	log, start, err := openLog(filepath.Join(dir, "agent.log"))
	if errors.Is(err, os.ErrPermission) {
		return fault.New(fault.Denied, "start agent: %w", err).
			WithHint("the state folder is another user's: RELEASE_STATE_DIR names another one")
	}
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(selfPath(), "agent", "run")
	cmd.Args[0] = "release"
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.Env = append(withoutGlobals(os.Environ()), "RELEASE_STATE_DIR="+dir)
	if images := c.getenv("RELEASE_IMAGES_DIR"); images != "" {
		abs, err := filepath.Abs(images)
		if err != nil {
			return fmt.Errorf("start agent: %w", err)
		}
		cmd.Env = append(cmd.Env, "RELEASE_IMAGES_DIR="+abs)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// Descriptors that our own parent left open in us must not live on in the agent.
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("start agent: close inherited descriptors: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	died := make(chan error, 1)
	go func() { died <- cmd.Wait() }()
	return waitForAgent(ctx, client, died, log.Name(), start)
}

// waitForAgent returns when an agent answers: ours, or one that somebody else started at the same time.
func waitForAgent(ctx context.Context, client *api.Client, died <-chan error, log string, from int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, agentStart, fault.New(fault.Unavailable, "the agent did not answer within %s", span(agentStart)).
		WithHint("its log: %s", log))
	defer cancel()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-poll.C:
			if _, err := client.Agent(ctx); err == nil {
				return nil
			}
		case <-died:
			if _, err := client.Agent(ctx); err == nil {
				return nil
			}
			return agentDied(log, from)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// agentDied says why a new agent ended. On a full disk it cannot even say so in its log.
func agentDied(log string, from int64) error {
	said := logEnd(log, from)
	var st unix.Statfs_t
	if unix.Statfs(filepath.Dir(log), &st) == nil && st.Bavail == 0 {
		return fault.New(fault.NoSpace, "the agent ended while starting: the disk of %s is full: %s", filepath.Dir(log), cmp.Or(said, "it could not say more")).
			WithHint("free space there and repeat; router and nodes go on meanwhile")
	}
	return fault.New(fault.Failed, "the agent ended while starting:\n%s", cmp.Or(said, "it said nothing")).WithHint("its log: %s", log)
}

// logLimit is the size at which an agent's log is put aside at the next start.
const logLimit = 16 << 20

// openLog opens a log for appending and gives its length so far.
func openLog(path string) (*os.File, int64, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > logLimit {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, 0, err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// logEnd is the last lines of a log after an offset.
func logEnd(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err.Error()
	}
	b, _ := io.ReadAll(io.LimitReader(f, 1<<20))
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// withoutGlobals drops the variables that are flags of the verb at hand and none of the agent's, and the one by which a hook's command is found:
// an agent that a hook starts is not the hook's.
func withoutGlobals(env []string) []string {
	var g globals
	drop := map[string]bool{hook.FolderVar: true}
	for _, name := range g.names() {
		drop[variableOf(name)] = true
	}
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return drop[name]
	})
}
