package consultest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Member is one Consul process, which may be started again in the same folder and at the same address.
type Member struct {
	Host    string // its own address
	Address string // of its HTTP API: Host:8500
	Dir     string // its data

	t      testing.TB
	binary string
	role   []string
	config string
	token  string
	join   []string
	enter  []string // command and arguments that start the program
	log    string

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone
}

// baseConfig makes servers quick to elect and open nothing that the tests do not use.
const baseConfig = `performance { raft_multiplier = 1 }
ports { dns = -1  serf_wan = -1  grpc = -1  grpc_tls = -1 }
disable_update_check = true
leave_on_terminate = false
skip_leave_on_interrupt = true
`

// Start starts the process. It does not wait: see Cluster.Await.
func (m *Member) Start() {
	m.t.Helper()
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	args := append([]string{"agent", "-node=n" + strings.ReplaceAll(m.Host, ".", "-"), "-bind=" + m.Host, "-client=" + m.Host,
		"-data-dir=" + m.Dir, "-log-level=warn", "-disable-host-node-id", "-hcl", baseConfig, "-hcl", m.config}, m.role...)
	for _, host := range m.join {
		args = append(args, "-retry-join="+host)
	}
	command := append(append(slices.Clone(m.enter), m.binary), args...)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the process dies with the thread that started it
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it exits with 1 on SIGTERM
		}
	}()
	if err := <-started; err != nil {
		m.t.Fatalf("start consul: %v", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cmd, m.ended = cmd, ended
}

// Kill ends the process with SIGKILL, as a crash does. Nothing happens when it does not run.
func (m *Member) Kill() { m.signal(syscall.SIGKILL) }

// Stop ends the process in order; as a server it stays a member of the cluster.
func (m *Member) Stop() { m.signal(syscall.SIGTERM) }

func (m *Member) signal(s syscall.Signal) {
	m.mu.Lock()
	cmd, ended := m.cmd, m.ended
	m.cmd = nil
	m.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(s)
	select {
	case <-ended:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		<-ended
		m.t.Errorf("consul %s did not end within %s", m.Host, patience)
	}
}

// Pause stops the process without ending it, as a machine that hangs; Resume lets it go on.
func (m *Member) Pause() { m.send(syscall.SIGSTOP) }

// Resume ends a Pause.
func (m *Member) Resume() { m.send(syscall.SIGCONT) }

func (m *Member) send(s syscall.Signal) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd == nil {
		m.t.Fatalf("consul %s does not run", m.Host)
	}
	if err := m.cmd.Process.Signal(s); err != nil {
		m.t.Fatal(err)
	}
}

// Running says whether the process was started and not ended since.
func (m *Member) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cmd != nil
}

// crashed says whether the process ended although nobody ended it.
func (m *Member) crashed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd == nil {
		return false
	}
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

// ready says whether the member answers and can reach a leader.
func (m *Member) ready() bool {
	if m.leader() == "" {
		return false
	}
	status, _ := m.get("/v1/kv/consultest?consistent")
	return status == http.StatusNotFound || status == http.StatusForbidden && m.token == "" // the token works a moment after the election
}

// leader is the address of the leader as the member knows it, "" for none.
func (m *Member) leader() string {
	var leader string
	if status, body := m.get("/v1/status/leader"); status == http.StatusOK {
		_ = json.Unmarshal(body, &leader)
	}
	return leader
}

func (m *Member) get(path string) (status int, body []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Address+path, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("X-Consul-Token", m.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	body, _ = io.ReadAll(resp.Body)
	return resp.StatusCode, body
}

func (m *Member) await(what string, ok func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if m.crashed() {
			m.t.Fatalf("consul %s ended by itself; it said last:\n%s", m.Host, m.logEnd())
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("consul %s has not %s within %s; it said last:\n%s", m.Host, what, patience, m.logEnd())
		}
	}
}

func (m *Member) logEnd() string {
	b, err := os.ReadFile(m.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
