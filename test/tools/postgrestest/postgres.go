// Package postgrestest runs real PostgreSQL servers for tests, in folders of their own, without a password. They are gone
// when the test ends.
package postgrestest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a server: machines that run several suites at a time are slow.
const patience = 60 * time.Second

// Server is one server.
type Server struct {
	Host string // that it listens on, beside 127.0.0.1
	Port string

	t    testing.TB
	bin  string
	data string
	who  *syscall.SysProcAttr // it refuses to run as root
	cmd  *exec.Cmd
}

// Start runs a server on 127.0.0.1, and on the addresses given, until the test ends.
func Start(t testing.TB, hosts ...string) *Server {
	t.Helper()
	s := &Server{t: t, bin: programs(t), Host: "127.0.0.1", Port: freePort(t), who: ordinary(t)}
	if len(hosts) > 0 {
		s.Host = hosts[0]
	}
	dir, err := os.MkdirTemp("", "rel-pg-") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if c := s.who.Credential; c != nil {
		if err := os.Chown(dir, int(c.Uid), int(c.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	s.data = filepath.Join(dir, "data")
	if out, err := s.command("initdb", "-D", s.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	access := "\nhost all all 0.0.0.0/0 trust\n"
	if err := appendTo(filepath.Join(s.data, "pg_hba.conf"), access); err != nil {
		t.Fatal(err)
	}
	listen := strings.Join(slices.Concat([]string{"127.0.0.1"}, hosts), ",")
	s.cmd = s.command("postgres", "-D", s.data, "-p", s.Port, "-k", dir, "-c", "listen_addresses="+listen, "-c", "fsync=off")
	var output bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = &output, &output
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	s.await(&output)
	return s
}

// URL is how a database of the server is reached at its Host.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", net.JoinHostPort(s.Host, s.Port), database)
}

// Psql runs psql with each command in the same session and returns what it printed, columns apart by "|".
func (s *Server) Psql(commands ...string) (string, error) {
	args := []string{"-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", s.Port, "-U", "postgres", "postgres"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := exec.Command(filepath.Join(s.bin, "psql"), args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, bytes.TrimSpace(out))
	}
	return strings.TrimSpace(string(out)), nil
}

// Must is Psql that has to succeed.
func (s *Server) Must(commands ...string) string {
	s.t.Helper()
	out, err := s.Psql(commands...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// programs is the folder of the newest server's programs, as Debian installs them.
func programs(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well formed
	if len(found) == 0 {
		t.Fatal("this test needs PostgreSQL: .ci/prepare installs it, or apt-get install postgresql")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 for what is no version
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }))
}

// ordinary is whom the server runs as: as root the user that the package made for it.
func ordinary(t testing.TB) *syscall.SysProcAttr {
	t.Helper()
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if os.Geteuid() != 0 {
		return attr
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatalf("find whom PostgreSQL may run as: %v", err)
	}
	uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(errUID, errGID); err != nil {
		t.Fatal(err)
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir, cmd.SysProcAttr = "/", s.who
	return cmd
}

// await waits until the server answers.
func (s *Server) await(output *bytes.Buffer) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if _, err := s.Psql("select 1"); err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.stop()
			s.t.Fatalf("PostgreSQL does not answer:\n%s", output)
		}
	}
}

// stop ends the server at once: nobody needs what it has.
func (s *Server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGQUIT) // its immediate shutdown
	_ = s.cmd.Wait()
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
