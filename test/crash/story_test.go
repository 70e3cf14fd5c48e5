package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/load"
)

// settings of the app: a volume, a canary step that is held for a moment and asked about, a hook at each end, and patience with a
// busy machine.
const settings = `app: hello
recipe: recipe.yaml
fleet: {driver: sandbox, size: 2, stop: {grace: 5s}, volumes: [{name: data, path: /data, writer: many}]%s}
health: {http: {path: /healthz, port: 8080}, timeout: 5s, unhealthy_after: 3, start_within: %s}
route: {listen: %q}
cutover:
  steps: [{percent: 50, hold: 200ms}, {percent: 100}]
  verdict: off
  abort_on: {command: [{cmd: "true"}]}
  keep_previous: 1m
  drain: {timeout: 10s}
hooks: {before_cutover: ["true"], on_abort: ["true"]}
`

// patience bounds the wait for an agent that answers.
const patience = 2 * time.Minute

// story is one installation that goes through a day, and what becomes of its users.
type story struct {
	*harness.Installation
	t      *testing.T
	driver string    // of the fleets; its folder has the same name
	point  string    // where somebody dies, "" for nobody
	dir    string    // of the fail points
	killed time.Time // when a node was
}

// tell goes through the day with an agent that dies at a point, "" for none, and gives the answers that users got.
func tell(t *testing.T, point string) *story {
	t.Helper()
	s := newStory(t, "sandbox", point)
	copyImages(t, filepath.Join(s.Dir, "i"))
	s.app("", "1m")
	s.Keep("RELEASE_FAILPOINT="+point, "RELEASE_FAILPOINT_DIR="+s.dir)
	s.asks(0, "up", image(t, "v1"))
	report := s.underLoad(s.day)
	s.judge(report)
	s.nothingButWhatRuns()
	s.asks(0, "destroy", "-y", "--volumes")
	s.nothingLeft()
	return s
}

func newStory(t *testing.T, driver, point string) *story {
	t.Helper()
	s := &story{Installation: suite.New(t, driver), t: t, driver: driver, point: point}
	s.dir = filepath.Join(s.Dir, "points")
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

// day is what is done while users come.
func (s *story) day() {
	s.released("up", image(s.t, "v2"))
	s.asks(0, "rollback", "--to", "r1")
	s.serves("r1")
	s.kill()
	s.asks(0, "scale", "3")
	s.runs()
	s.app(`, env: {FAIL: "1"}`, "1s")
	s.asks(3, "up", image(s.t, "v2"))
	s.serves("r1")
}

// runs runs a command. When the agent died before it was let go it did not run, and a person asks again.
func (s *story) runs() {
	s.t.Helper()
	out := s.repeat("run", "--", "/hello", "-version")
	if out.Code == 125 && strings.Contains(out.Stderr, "could not start: the starter ended before the go-ahead") && !s.died().IsZero() {
		out = s.repeat("run", "--", "/hello", "-version")
	}
	if out.Code != 0 || !strings.Contains(out.Stdout, "hello v1") {
		s.t.Errorf("release run: exit code %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
}

func (s *story) app(more, startWithin string) {
	s.Write("release.yaml", fmt.Sprintf(settings, more, startWithin, s.Listen))
}

// released runs a verb that may also end with everything as it was, if something died.
func (s *story) released(args ...string) {
	s.t.Helper()
	out := s.repeat(args...)
	switch {
	case out.Code == 0:
		s.serves("r2")
	case out.Code == 3 && !s.died().IsZero():
		s.t.Logf("it was rolled back: %s", out.Stderr)
		s.serves("r1")
	default:
		s.t.Errorf("release %s: exit code %d\n%s", strings.Join(args, " "), out.Code, out.Stderr)
	}
}

// asks runs a verb that has to end so.
func (s *story) asks(code int, args ...string) {
	s.t.Helper()
	if out := s.repeat(args...); out.Code != code {
		s.t.Errorf("release %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), out.Code, code, out.Stdout, out.Stderr)
	}
}

func (s *story) repeat(args ...string) harness.Output { return s.Repeat(patience, args...) }

func (s *story) status() api.StatusResult { return s.PatientStatus(patience) }

// serves holds that nothing is under way and a release has all the traffic.
func (s *story) serves(release string) {
	s.t.Helper()
	st := s.status()
	if st.Operation != nil {
		s.t.Errorf("%s of %s is under way", st.Operation.Kind, st.Operation.Release)
	}
	for _, r := range st.Routes {
		for _, w := range r.Weights {
			if w.Percent > 0 && (w.Release != release || w.Percent != 100) {
				s.t.Errorf("%s has %d %%, want %s with all", w.Release, w.Percent, release)
			}
		}
	}
	if len(st.Routes) != 1 {
		s.t.Errorf("the routes are %+v", st.Routes)
	}
}

// kill ends a node that serves, and waits until another one is in its place.
func (s *story) kill() {
	s.t.Helper()
	healthy := func() (list []api.Node) {
		for _, fl := range s.status().Fleets {
			for _, n := range fl.Nodes {
				if fl.Percent == 100 && n.State == "healthy" {
					list = append(list, n)
				}
			}
		}
		return list
	}
	before := healthy()
	if len(before) != 2 || before[0].PID == 0 {
		s.t.Errorf("the nodes that serve are %+v", before)
		return
	}
	s.killed = time.Now()
	if err := syscall.Kill(before[0].PID, syscall.SIGKILL); err != nil {
		s.t.Error(err)
	}
	s.Until("the node to be replaced", time.Minute, func() bool {
		now := healthy()
		return len(now) == 2 && now[0].ID != before[0].ID && now[1].ID != before[0].ID
	})
}

// underLoad sends requests as long as do takes.
func (s *story) underLoad(do func()) load.Report {
	s.t.Helper()
	report, err := load.During(s.t.Context(), load.Options{URL: "http://" + s.Listen + "/", Rate: 100, Connections: 16, Timeout: 30 * time.Second}, do)
	if err != nil {
		s.t.Error(err)
	}
	return report
}

// died is when the process died at its point; zero: it did not.
func (s *story) died() time.Time {
	info, err := os.Stat(filepath.Join(s.dir, "died"))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// outage is how long users may get no answers after the router was killed: an agent starts it again within a second, and a busy
// machine needs its time.
const outage = 10 * time.Second

// judge wants every request answered. What a killed node had taken is its own loss, and no agent makes up for a router in no time.
func (s *story) judge(r load.Report) {
	s.t.Helper()
	name, _, _ := strings.Cut(s.point, ":")
	router := failpoint.Points()[failpoint.Point(name)] == failpoint.Router
	var last time.Duration
	for _, f := range r.Failures {
		after := f.Due.Sub(s.died())
		if d := f.Due.Sub(s.killed); d > -time.Second && d < time.Second && f.Status == 502 {
			s.t.Logf("lost with its node: %+v", f)
			continue
		}
		if router && after > -time.Second && after < outage && f.Status == 0 {
			last = max(last, after)
			continue
		}
		s.t.Errorf("lost, %s after the death: %+v", after, f)
	}
	if last > 0 {
		s.t.Logf("users got no answers for %s", last)
	}
	if r.Sent < 10 {
		s.t.Errorf("only %d requests came", r.Sent)
	}
}

// template is a store with the images of the story, made once.
var template = struct {
	sync.Once
	dir    string
	images map[string]string
}{images: map[string]string{}}

// image is the digest of a version.
func image(t *testing.T, version string) string {
	t.Helper()
	template.Do(func() {
		in := suite.New(t, "sandbox")
		for _, v := range []string{"v1", "v2"} {
			template.images[v] = in.Bake(v)
		}
		template.dir = filepath.Join(filepath.Dir(in.Binary), "images")
		if out, err := exec.Command("cp", "-a", filepath.Join(in.Dir, "i"), template.dir).CombinedOutput(); err != nil {
			t.Fatalf("copy images: %v\n%s", err, out)
		}
	})
	return template.images[version]
}

// copyImages makes a store with the images.
func copyImages(t *testing.T, dir string) {
	t.Helper()
	image(t, "v1")
	if out, err := exec.Command("cp", "-a", template.dir, dir).CombinedOutput(); err != nil {
		t.Fatalf("copy images: %v\n%s", err, out)
	}
}
