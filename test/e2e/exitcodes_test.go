package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/test/harness"
)

// situation is a command in a world that the rows before it made, and how it ends.
type situation struct {
	name string
	make func(t *testing.T, in *harness.Installation) // what is different now; nil: nothing
	args []string
	code int
	says []string
}

const (
	// failing is a cutover that goes wrong past its one-way step.
	failing = "cutover: {steps: [{percent: 50, one_way: true}, {percent: 100}], drain: {timeout: 2s}}\nhooks: {after_step: [exit 9]}\n"
	// contracting has a contract phase whose command does not do what it should.
	contracting = "cutover: {keep_previous: 0s, drain: {timeout: 2s}}\nschema: {min: 1, max: 2}\nmigrations: {contract: {to: 2, run: [{cmd: [%s]}]}}\n"
)

// situations has each exit code of the program, and each way to 4, in the order in which they are told.
func situations(v1, v2 string) []situation {
	project := func(more string) func(*testing.T, *harness.Installation) {
		return func(_ *testing.T, in *harness.Installation) { in.WriteProject(quick, 1, more) }
	}
	return []situation{
		{"done", project(""), []string{"up", v1}, 0, nil},
		{"nothing to do", nil, []string{"up", v1}, 0, nil},
		{"an image that is not there", nil, []string{"launch", "r9"}, 1, []string{"r9"}},
		{"nothing to abort", nil, []string{"abort"}, 1, []string{"nothing is under way", "release status"}},
		{"unknown flag", nil, []string{"up", "--fast"}, 2, []string{"--fast"}},
		{"a share that is none", nil, []string{"cutover", "--percent", "101"}, 2, []string{"is not from 1 to 100"}},
		{"configuration", project("cutovr: {}\n"), []string{"up", v2}, 2, []string{"release.yaml:", "cutovr", "cutover"}},
		{"a hook before the traffic", project("hooks: {before_cutover: [exit 9]}\n"), []string{"up", v2}, 3, []string{"exit code 9"}},
		{"frozen", func(_ *testing.T, in *harness.Installation) { in.Must("freeze", "--reason", "sale") }, []string{"up", v2}, 5, []string{"sale", "release unfreeze"}},
		{"approval", func(t *testing.T, in *harness.Installation) {
			in.Must("unfreeze")
			project(gatedSteps)(t, in)
		}, []string{"up", v2}, 6, []string{"waits for approval by ops", "release approve"}},
		{"another operation", nil, []string{"launch", v1}, 5, []string{"is under way since", "release abort"}},
		{"approved", nil, []string{"approve"}, 0, nil},
		{"paused", func(t *testing.T, in *harness.Installation) {
			project(slow)(t, in)
			in.Must("up", v1, "--detach")
			in.Until("50 %", time.Minute, func() bool { op := in.Status().Operation; return op != nil && op.Percent == 50 })
			in.Must("pause")
		}, []string{"up", v1}, 6, []string{"is held at 50 %", "release resume"}},
		{"the time is over", func(_ *testing.T, in *harness.Installation) { in.Must("resume") }, []string{"up", v1, "--timeout", "200ms"}, 7, []string{"goes on in the agent"}},
		{"aborted", nil, []string{"abort"}, 0, nil},

		{"past a one-way step", project(failing), []string{"up", v1}, 4, []string{"exit code 9", "held at 50 %, since the step of 50 % is one-way", "release resume", "release abort --force"}},
		{"followed again", nil, []string{"up", v1}, 4, []string{"is one-way"}},
		{"abort past it", nil, []string{"abort"}, 4, []string{"is one-way", "may not work with what", "release abort --force"}},
		{"rollback past it", nil, []string{"rollback"}, 4, []string{"is one-way", "release abort --force"}},
		{"what force would do", nil, []string{"abort", "--force", "--dry-run"}, 0, nil},
		{"abort by force", nil, []string{"abort", "--force"}, 0, []string{"by force", "may not work with what"}},
		{"contract fails", func(t *testing.T, in *harness.Installation) {
			project(fmt.Sprintf(contracting, "/nothing"))(t, in)
			in.Must("destroy", "-y") // no other release may be left
			in.Must("up", v1)
		}, []string{"run", "--contract", "-y"}, 4, []string{"contract of the database to 2", "release run --contract"}},
		{"contract is aborted", func(t *testing.T, in *harness.Installation) {
			project(fmt.Sprintf(contracting, "/hello, work"))(t, in)
			in.Must("up", v1)
			in.Until("the old fleet to be shot", time.Minute, func() bool { return len(in.Status().Fleets) == 1 })
			in.Must("run", "--contract", "-y", "--detach")
			in.Until("the command to run", time.Minute, func() bool { s := in.Status(); return len(s.Tasks) == 1 && !s.Tasks[0].Started.IsZero() })
		}, []string{"abort"}, 4, []string{"contract of the database to 2 has begun", "nothing undoes it"}},
	}
}

// TestExitCodes is each exit code and each way to 4, with what the command says to type.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	// These wait for a minute or two, each in an installation of its own, while the rows go on.
	ends := []func(){rollBackWithoutWorker(t), handBackSpoiled(t), destroyButForAVolume(t)}
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	seen := map[int]bool{130: interrupted(t, in)}
	for _, s := range situations(v1, v2) {
		if s.make != nil {
			s.make(t, in)
		}
		out := in.Run(s.args...)
		if seen[s.code] = true; out.Code != s.code {
			t.Errorf("%s: release %s: exit code %d, want %d\n%s%s", s.name, strings.Join(s.args, " "), out.Code, s.code, out.Stdout, out.Stderr)
		}
		for _, says := range s.says {
			if !strings.Contains(out.Stderr, says) {
				t.Errorf("%s: release %s says nothing of %q:\n%s", s.name, strings.Join(s.args, " "), says, out.Stderr)
			}
		}
	}
	for _, end := range ends {
		end()
	}
	for _, code := range []fault.Code{"", fault.Failed, fault.Invalid, fault.RolledBack, fault.NeedsPerson, fault.Busy, fault.Held, fault.Running, fault.Interrupted} {
		if exit := code.ExitCode(); code != "" && !seen[exit] || code == "" && !seen[0] {
			t.Errorf("no row ends with %d (%s)", exit, code)
		}
	}
}

// interrupted is a command that gets Ctrl-C while it waits, and the operation that goes on.
func interrupted(t *testing.T, in *harness.Installation) bool {
	t.Helper()
	in.WriteProject(quick, 1, "hooks: {before_launch: [sleep 2]}\n")
	p := begin(t, in, "up", "hello", "--json")
	p.await("hook.begin")
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	wants(t, p.end(), 130, "goes on in the agent", "release abort")
	in.Until("the operation to end", time.Minute, func() bool { s := in.Status(); return s.Operation == nil && len(s.Fleets) == 1 })
	return true
}

// rollBackWithoutWorker goes back to a release whose worker cannot be booted any more, and gives what waits for its end.
func rollBackWithoutWorker(t *testing.T) (end func()) {
	t.Helper()
	in := suite.New(t, quick)
	key := filepath.Join(in.Dir, "key")
	if err := os.WriteFile(key, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(worker string) {
		in.Write("release.yaml", fmt.Sprintf(`app: hello
recipe: recipe.yaml
fleet: {driver: sandbox, size: 1, stop: {grace: 5s}}
roles:
  web: {health: {http: {path: /healthz}}, route: {listen: "%s"}}
  worker: {cmd: [/hello, work], health: {start_within: 1s}%s}
cutover: {drain: {timeout: 2s}}
`, in.Listen, worker))
	}
	write(", fleet: {secrets: {KEY: \"file:" + key + "\"}}")
	in.Bake("v1")
	in.Operate("up")
	write("")
	in.Operate("up")
	in.Until("the old worker to end", time.Minute, func() bool { return len(nodesOf(in, "r1", "worker")) == 0 })
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	p := begin(t, in, "rollback")
	return func() {
		t.Helper()
		wants(t, p.end(), 4, "roll back to r1: it has all the traffic, but 1 of 1 nodes of r1 worker are not healthy", "release logs")
		weights(t, in, map[string]int{"r1": 100})
		if err := os.WriteFile(key, []byte("1"), 0o600); err != nil {
			t.Fatal(err)
		}
		in.Must("resume") // it would come by itself, within a minute
		in.Until("the worker to be booted", time.Minute, func() bool { return len(nodesOf(in, "r1", "worker")) == 1 })
		out := in.Operate("rollback", "--to", "r2") // the other way that operations.md names
		if out.Percent != 100 {
			t.Errorf("rollback --to r2: %+v", out)
		}
	}
}

// spoils is an app whose version "bad" leaves something in the volume with which no version is healthy.
const spoils = `package main

import (
	"net/http"
	"os"
)

func main() {
	if os.Getenv("VERSION") == "bad" {
		if err := os.WriteFile("/srv/data/spoiled", nil, 0o644); err != nil {
			panic(err)
		}
	}
	http.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if _, err := os.Stat("/srv/data/spoiled"); err == nil {
			http.Error(w, "spoiled", 500)
		}
	})
	http.ListenAndServe(":"+os.Getenv("PORT"), nil)
}
`

// handBackSpoiled launches a release that spoils the volume that it gets, and fails, and gives what waits for its end.
func handBackSpoiled(t *testing.T) (end func()) {
	t.Helper()
	in := suite.New(t, quick)
	buildProgram(t, in, spoils)
	keepsData(in, quick, "v1")
	in.Operate("up")
	keepsData(in, quick, "bad")
	p := begin(t, in, "up")
	return func() {
		t.Helper()
		wants(t, p.end(), 4, "and r1, which has its volume back, is not healthy", "release logs")
		spoiled, err := filepath.Glob(filepath.Join(in.Dir, "s/sandbox/volumes/*/*/spoiled"))
		if err != nil || len(spoiled) != 1 {
			t.Fatalf("in the volume: %q, %v", spoiled, err)
		}
		if err := os.Remove(spoiled[0]); err != nil {
			t.Fatal(err)
		}
		in.Until("the node to be healthy", 2*time.Minute, func() bool { // by itself, as operations.md says
			fleets := in.Status().Fleets
			return len(fleets) == 1 && len(fleets[0].Nodes) == 1 && fleets[0].Nodes[0].State == "healthy"
		})
	}
}

// destroyButForAVolume destroys an app with a volume whose record nobody can read, and gives what waits for its end.
func destroyButForAVolume(t *testing.T) (end func()) {
	t.Helper()
	in := suite.New(t, quick)
	buildProgram(t, in, spoils)
	keepsData(in, quick, "v1")
	in.Operate("up")
	in.Must("destroy", "-y")
	volumes := volumesOf(t, in, quick)
	if len(volumes) != 1 {
		t.Fatalf("a destroy kept %q", volumes)
	}
	name := filepath.Join(volumes[0], "volume.json")
	record, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, []byte("{"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := begin(t, in, "destroy", "--volumes", "-y")
	return func() {
		t.Helper()
		wants(t, p.end(), 4, "the volume web/data is not removed: ", "release destroy --volumes")
		if err := os.WriteFile(name, record, 0o600); err != nil {
			t.Fatal(err)
		}
		in.Must("destroy", "--volumes", "-y")
		if left := volumesOf(t, in, quick); len(left) != 0 {
			t.Errorf("left is %q", left)
		}
	}
}
