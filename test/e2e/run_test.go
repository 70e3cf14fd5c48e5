package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
)

// taskTool is a command of an image that does what its arguments say.
const taskTool = `package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 1 {
		serve()
	}
	switch os.Args[1] {
	case "env":
		fmt.Println(os.Getenv(os.Args[2]))
	case "exit":
		fmt.Fprintln(os.Stderr, "to stderr")
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "count":
		n, _ := strconv.Atoi(os.Args[2])
		for i := range n {
			fmt.Println(i)
			time.Sleep(100 * time.Millisecond)
		}
		os.Exit(9)
	case "wait":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		fmt.Println("waits")
		<-stop
		fmt.Println("stopped")
	}
}

func serve() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	fmt.Println(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
	os.Exit(1)
}
`

// withTool is an installation whose app is taskTool, and serves.
func withTool(t *testing.T, driver, more string) *harness.Installation {
	t.Helper()
	in := suite.New(t, driver)
	buildProgram(t, in, taskTool)
	in.Write("release.yaml", "app: tool\nrecipe: recipe.yaml\nfleet: {driver: "+driver+", size: 1, env: {LOG: info}, secrets: {DB: file:"+
		filepath.Join(in.Dir, "db")+"}}\nroute: {listen: \""+in.Listen+"\"}\n"+more)
	in.Write("recipe.yaml", "base: scratch\ncopy: [{from: tool, to: /tool}]\nports: [8080]\nentrypoint: [/tool]\n")
	if err := os.WriteFile(filepath.Join(in.Dir, "db"), []byte("db-secret-1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	in.Operate("up")
	return in
}

// onlyFleet says that no task's node is left.
func onlyFleet(t *testing.T, in *harness.Installation) {
	t.Helper()
	s := in.Status()
	if len(s.Tasks) != 0 || len(s.Fleets) != 1 || len(s.Fleets[0].Nodes) != 1 {
		t.Errorf("left: %+v, %+v", s.Tasks, s.Fleets)
	}
	if nodes, err := os.ReadDir(filepath.Join(in.Dir, "s/sandbox/nodes")); err == nil && len(nodes) > 1 {
		t.Errorf("left are the nodes %v", nodes)
	}
}

// TestRun runs commands in nodes of their own, with each driver.
func TestRun(t *testing.T) {
	for _, driver := range []string{"sandbox", "docker"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			in := withTool(t, driver, "jobs: {report: {cmd: [/tool, exit, \"0\"]}}\n")
			if out := in.Must("run", "--", "/tool", "env", "LOG"); out.Stdout != "info\n" {
				t.Errorf("the environment is not the app's: %q", out.Stdout)
			}
			if out := in.Must("run", "--", "/tool", "env", "DB"); out.Stdout != "db-secret-1234\n" {
				t.Errorf("the secret is not the app's: %q", out.Stdout)
			}
			wants(t, in.Run("run", "--", "/tool", "exit", "7"), 7, "to stderr")
			out := in.Run("run", "--", "/tool", "count", "10")
			wants(t, out, 9)
			if out.Stdout != "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n" {
				t.Errorf("output: %q", out.Stdout)
			}
			wants(t, in.Run("run", "--", "/no/such/program"), 127, "/no/such/program")
			wants(t, in.Run("run", "--release", "r9", "--", "/tool"), 1, "no release")
			wants(t, in.Run("run", "nothing"), 1, `no job "nothing"`)
			wants(t, in.Run("run"), 2, "a job or a command is needed")
			var dry api.TaskResult
			if code := in.JSON(&dry, "run", "--dry-run", "report"); code != 0 || !dry.DryRun || dry.Release != "r1" || dry.Done() {
				t.Errorf("dry run: exit code %d, %+v", code, dry)
			}
			wants(t, in.Run("run", "--dry-run", "nothing"), 1, `no job "nothing"`)
			if out := in.Must("run", "--dry-run", "--", "/tool", "exit", "7"); !strings.Contains(out.Stdout, "/tool exit 7 would run in a node of r1, role web") {
				t.Errorf("dry run of a command: %q", out.Stdout)
			}
			var job api.TaskResult
			if code := in.JSON(&job, "run", "report"); code != 0 || job.Job != "report" || !job.Done() || job.ExitCode != 0 {
				t.Errorf("job: exit code %d, %+v", code, job)
			}
			var list api.TasksResult
			in.JSON(&list, "run", "--list")
			if len(list.Jobs) != 1 || list.Jobs[0].Last != job.ID || len(list.Tasks) != 6 || list.Tasks[0].ID != job.ID || list.Tasks[2].ExitCode != 9 {
				t.Errorf("list: %+v", list)
			}
			onlyFleet(t, in)
		})
	}
}

// TestRunSurvivesTheAgent kills the agent in the middle of a command: the command goes on, runs once, and its output and
// exit arrive.
func TestRunSurvivesTheAgent(t *testing.T) {
	t.Parallel()
	in := withTool(t, quick, "")
	p := begin(t, in, "run", "--", "/tool", "count", "40")
	if line := p.line(); line != "0" {
		t.Fatalf("the first line is %q", line)
	}
	if err := syscall.Kill(in.Agent().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	out := p.end()
	wants(t, out, 9)
	for i, line := range strings.Split(out.Stdout, "\n") {
		if line != strconv.Itoa(i+1) || i > 38 {
			t.Fatalf("output is not each line once:\n%s", out.Stdout)
		}
	}
	if !strings.HasSuffix(out.Stdout, "\n39") {
		t.Errorf("the output ends with %q", out.Stdout[max(0, len(out.Stdout)-20):])
	}
	onlyFleet(t, in)
}

// line is the next of a command's standard output.
func (p *process) line() string {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("the command ended\n%s", p.end().Stderr)
		}
		return line
	case <-time.After(time.Minute):
		p.t.Fatal("no line within a minute")
	}
	return ""
}

// TestRunIsInterrupted ends a command by Ctrl-C, and leaves one by --detach.
func TestRunIsInterrupted(t *testing.T) {
	t.Parallel()
	in := withTool(t, quick, "jobs: {long: {cmd: [/tool, wait]}}\n")
	p := begin(t, in, "run", "--", "/tool", "wait")
	p.line()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	wants(t, p.end(), 130, "is stopped and its node removed")
	onlyFleet(t, in)
	id := strings.TrimSpace(in.Must("run", "long", "--detach").Stdout)
	wants(t, in.Run("run", "long"), 5, id)
	in.Until("the task to run", 30*time.Second, func() bool { return strings.Contains(in.Run("logs", id).Stdout, "waits") })
	wants(t, in.Run("exec", id, "--", "/tool", "exit", "4"), 4)
	wants(t, in.Run("run", "--timeout", "1s", "--", "/tool", "wait"), 7, "goes on in the agent")
	if n := len(in.Status().Tasks); n != 2 {
		t.Errorf("%d tasks run, want 2", n)
	}
}
