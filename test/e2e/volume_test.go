package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bootandshoot/release/test/harness"
)

// keeper is an app that keeps what it is told in a volume, and is the only one to do so or tells on itself.
const keeper = `package main

import (
	"fmt"
	"net/http"
	"os"
	"syscall"
)

func add(name, line string) {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(f, line)
	f.Close()
}

func main() {
	lock, err := os.OpenFile("/srv/data/lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		panic(err)
	}
	me := os.Getenv("VERSION") + " in " + os.Getenv("HOSTNAME")
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		add("/srv/data/meetings", me)
	}
	add("/srv/data/lines", "booted "+os.Getenv("VERSION"))
	http.HandleFunc("/add", func(w http.ResponseWriter, r *http.Request) { add("/srv/data/lines", r.FormValue("line")) })
	http.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if os.Getenv("VERSION") == "bad" {
			http.Error(w, "bad", 500)
		}
	})
	http.Handle("/", http.FileServer(http.Dir("/srv/data")))
	fmt.Println(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
	os.Exit(1)
}
`

// keepsData writes a version of the app.
func keepsData(in *harness.Installation, driver, version string) {
	in.Write("release.yaml", `app: keeper
recipe: recipe.yaml
fleet: {driver: `+driver+`, volumes: [{name: data, path: /srv/data}], stop: {grace: 5s}}
health: {http: {path: /healthz}, start_within: 5s}
route: {listen: "`+in.Listen+`"}
cutover: {drain: {timeout: 2s, close_within: 1s}}
`)
	in.Write("recipe.yaml", "base: scratch\ncopy: [{from: tool, to: /tool}]\nports: [8080]\nentrypoint: [/tool]\nenv: {VERSION: "+version+"}\n")
}

// keptBy are the lines that the app has, and who met another writer.
func keptBy(t *testing.T, in *harness.Installation) (lines, meetings string) {
	t.Helper()
	read := func(name string) string {
		resp, err := http.Get("http://" + in.Listen + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			return ""
		}
		return strings.Join(strings.Fields(string(text)), " ")
	}
	return read("lines"), read("meetings")
}

// TestVolume hands a volume from release to release, with each driver.
func TestVolume(t *testing.T) {
	for _, driver := range []string{"sandbox", "docker"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			in := suite.New(t, driver)
			buildProgram(t, in, keeper)
			keepsData(in, driver, "v1")
			in.Operate("up")
			asks(t, in.Listen, "/add?line=one", "")
			keepsData(in, driver, "v2")
			if out := in.Must("plan").Stdout; !strings.Contains(out, "nobody does the work of web meanwhile") {
				t.Errorf("the plan has no gap:\n%s", out)
			}
			in.Operate("up")
			asks(t, in.Listen, "/add?line=two", "")
			s := in.Status()
			if len(s.Volumes) != 1 || s.Volumes[0].Name != "data" || s.Volumes[0].Node != nodesOf(in, "r2", "web")[0] {
				t.Errorf("volumes: %+v", s.Volumes)
			}
			keepsData(in, driver, "bad")
			wants(t, in.Run("up"), 3, "never became healthy")
			if back := in.Operate("rollback"); back.Release != "r1" {
				t.Errorf("rollback: %+v", back)
			}
			lines, meetings := keptBy(t, in)
			if lines != "booted v1 one booted v2 two booted bad booted v2 booted v1" || meetings != "" {
				t.Errorf("kept is %q; at the volume met %q", lines, meetings)
			}
			wants(t, in.Run("destroy", "-y"), 0)
			if kept := volumesOf(t, in, driver); len(kept) != 1 {
				t.Errorf("a destroy kept %v", kept)
			}
			keepsData(in, driver, "v3")
			in.Operate("up")
			if lines, _ := keptBy(t, in); !strings.HasPrefix(lines, "booted v1 one ") {
				t.Errorf("a destroy left %q", lines)
			}
			in.Must("destroy", "--volumes", "-y")
			if left := volumesOf(t, in, driver); len(left) > 0 {
				t.Errorf("left is %v", left)
			}
		})
	}
}

// volumesOf are the driver's own names of the installation's volumes.
func volumesOf(t *testing.T, in *harness.Installation, driver string) []string {
	t.Helper()
	if driver != "docker" {
		list, err := filepath.Glob(filepath.Join(in.Dir, "s/sandbox/volumes/*"))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	var installation struct{ ID string }
	b, err := os.ReadFile(filepath.Join(in.Dir, "s/installation.json"))
	if err == nil {
		err = json.Unmarshal(b, &installation)
	}
	if err != nil || installation.ID == "" {
		t.Fatalf("%s: %v", b, err)
	}
	out, err := exec.Command("docker", "volume", "ls", "--quiet", "--filter", "label=release.installation="+installation.ID).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// TestHandoverSurvivesTheAgent kills the agent when the old node is stopped, and again while the new one boots.
func TestHandoverSurvivesTheAgent(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	buildProgram(t, in, keeper)
	keepsData(in, quick, "v1")
	in.Operate("up")
	keepsData(in, quick, "v2")
	for i, at := range []string{"fleet.handover", "volume.leased"} {
		p := begin(t, in, "up", "--json")
		p.await(at)
		if err := syscall.Kill(in.Agent().PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if r := result(t, p.end()); r.Percent != 100 || r.Release != fmt.Sprintf("r%d", i+2) {
			t.Errorf("after a kill at %s: %+v", at, r)
		}
		keepsData(in, quick, "v3")
	}
	lines, meetings := keptBy(t, in)
	if lines != "booted v1 booted v2 booted v3" || meetings != "" {
		t.Errorf("kept is %q; at the volume met %q", lines, meetings)
	}
}
