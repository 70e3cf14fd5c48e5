package harness

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

// Keeper is a service manager: it starts the agent again whenever it ends.
type Keeper struct {
	in    *Installation
	env   []string
	group sync.WaitGroup

	mu     sync.Mutex
	ending bool
	agent  *os.Process // nil: none runs
}

// Keep runs an agent from now on, with more environment than commands have. Commands only use it: they start none of their own.
// At the end of the test it destroys what is left and ends for good.
func (in *Installation) Keep(env ...string) *Keeper {
	in.t.Helper()
	k := &Keeper{in: in, env: slices.Concat(in.Env, env)}
	in.Env = append(in.Env, "RELEASE_AGENT="+filepath.Join(in.Dir, "s", api.SocketName))
	k.group.Go(k.run)
	in.t.Cleanup(k.end)
	return k
}

func (k *Keeper) run() {
	log, err := os.Create(filepath.Join(k.in.Dir, "agent.out"))
	if err != nil {
		k.in.t.Error(err)
		return
	}
	defer log.Close()
	for {
		cmd := exec.Command(k.in.Binary, "agent", "run")
		cmd.Dir, cmd.Env, cmd.Stderr = "/", k.env, log
		if !k.start(cmd) {
			return
		}
		_ = cmd.Wait()
		k.mu.Lock()
		k.agent = nil
		k.mu.Unlock()
		time.Sleep(50 * time.Millisecond) // as RestartSec does
	}
}

// start starts an agent, unless the end has come.
func (k *Keeper) start(cmd *exec.Cmd) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ending {
		return false
	}
	if err := cmd.Start(); err != nil {
		k.in.t.Error(err)
		return false
	}
	k.agent = cmd.Process
	return true
}

// Kill ends the agent's process by SIGKILL and says whether one ran.
func (k *Keeper) Kill() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.agent != nil && k.agent.Kill() == nil
}

func (k *Keeper) end() {
	if k.in.t.Failed() {
		b, _ := os.ReadFile(filepath.Join(k.in.Dir, "agent.out"))
		k.in.t.Logf("the agents' log ends with:\n%s", b[max(0, len(b)-12_000):])
	}
	k.in.Run("destroy", "-y", "--timeout", "1m")
	k.mu.Lock()
	k.ending = true
	if k.agent != nil {
		_ = k.agent.Signal(syscall.SIGTERM)
	}
	k.mu.Unlock()
	late := time.AfterFunc(time.Minute, func() { k.Kill() }) // one that hangs is the test's failure, not its end
	k.group.Wait()
	late.Stop()
}

// Repeat runs a verb with --json until an agent has answered it, as a person would whose connection was lost.
func (in *Installation) Repeat(within time.Duration, args ...string) Output {
	in.t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		out := in.Run(append([]string{"--json"}, args...)...)
		lines := strings.Split(strings.TrimSpace(out.Stdout), "\n")
		var r api.OperationResult
		_ = json.Unmarshal([]byte(lines[len(lines)-1]), &r)
		again := r.Error != nil && slices.Contains([]string{string(fault.Unavailable), string(fault.Running)}, r.Error.Code)
		if !again || time.Now().After(deadline) {
			in.t.Logf("%s: release %s: exit code %d after %s", time.Now().Format("15:04:05.000"), strings.Join(args, " "), out.Code, out.Took.Round(time.Millisecond))
			return out
		}
	}
}

// PatientStatus asks for the status until an agent answers.
func (in *Installation) PatientStatus(within time.Duration) (res api.StatusResult) {
	in.t.Helper()
	out := in.Repeat(within, "status")
	if err := json.Unmarshal([]byte(out.Stdout), &res); err != nil || out.Code != 0 {
		in.t.Errorf("status: exit code %d, %v\n%s", out.Code, err, out.Stderr)
	}
	return res
}
