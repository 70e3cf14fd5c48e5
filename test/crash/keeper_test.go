package crash

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
)

// keeper is a service manager: it starts the agent again whenever it ends.
type keeper struct {
	t     *testing.T
	in    *harness.Installation
	env   []string
	group sync.WaitGroup

	mu      sync.Mutex
	ending  bool
	agent   *os.Process
	started int
}

// keep runs an agent from now on. Commands only use it: they start none of their own.
func keep(t *testing.T, in *harness.Installation, env ...string) *keeper {
	t.Helper()
	k := &keeper{t: t, in: in, env: slices.Concat(in.Env, env)}
	in.Env = append(in.Env, "RELEASE_AGENT="+filepath.Join(in.Dir, "s", api.SocketName))
	k.group.Go(k.run)
	t.Cleanup(k.end)
	return k
}

func (k *keeper) run() {
	for {
		cmd := exec.Command(k.in.Binary, "agent", "run")
		log, err := os.OpenFile(filepath.Join(k.in.Dir, "agent.out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			k.t.Error(err)
			return
		}
		cmd.Dir, cmd.Env, cmd.Stderr = "/", k.env, log
		if !k.start(cmd) {
			_ = log.Close()
			return
		}
		_ = cmd.Wait()
		_ = log.Close()
		time.Sleep(50 * time.Millisecond) // as RestartSec does
	}
}

// start starts an agent, unless the end has come.
func (k *keeper) start(cmd *exec.Cmd) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ending {
		return false
	}
	if err := cmd.Start(); err != nil {
		k.t.Error(err)
		return false
	}
	k.agent = cmd.Process
	k.started++
	return true
}

// end ends the agent for good, after it has destroyed what is left.
func (k *keeper) end() {
	if k.t.Failed() {
		b, _ := os.ReadFile(filepath.Join(k.in.Dir, "agent.out"))
		k.t.Logf("the agents' log ends with:\n%s", b[max(0, len(b)-6000):])
	}
	k.in.Run("destroy", "-y", "--timeout", "1m")
	k.mu.Lock()
	k.ending = true
	agent := k.agent
	k.mu.Unlock()
	if agent != nil {
		_ = agent.Signal(syscall.SIGTERM)
	}
	k.group.Wait()
}
