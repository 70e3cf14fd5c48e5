package docs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// blockTime bounds one block, so that a document that hangs says where.
	blockTime = 90 * time.Second
	// loopbackVar asks this test binary to bring its loopback up and become bash.
	loopbackVar = "DOCS_TEST_LOOPBACK"
)

// shell is one bash that runs a document's blocks.
type shell struct {
	dir    string // all of the document's files
	cmd    *exec.Cmd
	stdin  *os.File
	output *os.File // what the blocks printed
	marks  *bufio.Reader
	done   chan error
}

// prelude makes bash end at the first command that fails and say where that stands. Whatever happens, what the document
// started is ended.
const prelude = `
set -Eeuo pipefail
trap 'code=$?; echo "fail $LINENO $code $BASH_COMMAND" >&3' ERR
trap 'trap - ERR; set +e; release destroy -y -q; release agent stop -q; release router stop -q' EXIT
`

// newShell starts bash in a folder of its own below dir, in a network namespace of its own where this user may make one.
func newShell(t *testing.T, bin, dir, work string, env []string) *shell {
	t.Helper()
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	in, stdin := pipe(t)
	marks, out := pipe(t)
	cmd := exec.Command("bash", "--noprofile", "--norc")
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		cmd.Path, cmd.Env = bin, append(cmd.Env, loopbackVar+"=1")
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNET
	}
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = work, in, output, output, []*os.File{out}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start bash: %v", err)
	}
	closeAll(t, in, out)
	s := &shell{dir: dir, cmd: cmd, stdin: stdin, output: output, marks: bufio.NewReader(marks), done: make(chan error, 1)}
	go func() { s.done <- cmd.Wait() }()
	s.write(t, prelude)
	return s
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

func closeAll(t *testing.T, files ...*os.File) {
	t.Helper()
	for _, f := range files {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *shell) write(t *testing.T, text string) {
	t.Helper()
	if _, err := s.stdin.WriteString(text); err != nil {
		t.Fatalf("talk to bash: %v", err)
	}
}

// run runs a block and returns the folder in which bash is afterwards. The block lies in a file at the lines that it has
// in the document, so that bash's line numbers are the document's.
func (s *shell) run(ctx context.Context, b block) (dir string, err error) {
	file := filepath.Join(s.dir, fmt.Sprintf("block-%d.sh", b.at))
	if err := os.WriteFile(file, []byte(strings.Repeat("\n", b.at-1)+b.text), 0o644); err != nil {
		return "", err
	}
	before, err := s.output.Stat()
	if err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(s.stdin, ". %s\necho \"ok $PWD\" >&3\n", file); err != nil {
		return "", fmt.Errorf("%s: bash is gone: %w", b.place(), err)
	}
	mark, err := s.mark(ctx)
	if err == nil && strings.HasPrefix(mark, "ok ") {
		return strings.TrimPrefix(mark, "ok "), nil
	}
	return "", fmt.Errorf("%s\n%s", failure(b, mark, err), s.since(before.Size()))
}

// mark waits for what the block or its failure says.
func (s *shell) mark(ctx context.Context) (string, error) {
	type said struct {
		text string
		err  error
	}
	heard := make(chan said, 1)
	go func() {
		text, err := s.marks.ReadString('\n')
		heard <- said{strings.TrimSuffix(text, "\n"), err}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, blockTime, fmt.Errorf("not done within %s", blockTime))
	defer cancel()
	select {
	case h := <-heard:
		return h.text, h.err
	case err := <-s.done:
		s.done <- err
		return "", fmt.Errorf("bash ended: %w", err)
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func failure(b block, mark string, err error) string {
	var line, code int
	if n, _ := fmt.Sscanf(mark, "fail %d %d", &line, &code); n == 2 {
		command := strings.SplitN(mark, " ", 4)
		return fmt.Sprintf("%s:%d: exit code %d: %s", b.source, line, code, command[len(command)-1])
	}
	return fmt.Sprintf("%s: %v", b.place(), errors.Join(err, errors.New("the block failed")))
}

// since is what was printed after an offset.
func (s *shell) since(from int64) string {
	text, err := os.ReadFile(s.output.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[min(from, int64(len(text))):])
}

// end lets bash finish. The trap of the prelude ends what the document did not.
func (s *shell) end(t *testing.T) {
	t.Helper()
	_ = s.stdin.Close()
	select {
	case <-s.done:
	case <-time.After(blockTime):
		t.Errorf("bash does not end; it is killed")
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.done
	}
	_ = s.output.Close()
}

// becomeBash is what this test binary does in a fresh network namespace: there even the loopback is down.
func becomeBash() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring the loopback up: %w", err)
	}
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring the loopback up: %w", err)
	}
	if err := os.Unsetenv(loopbackVar); err != nil {
		return err
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		return err
	}
	return syscall.Exec(bash, []string{"bash", "--noprofile", "--norc"}, os.Environ())
}
