package stress

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/router/embedded"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/test/harness"
)

// nodes is the size of each app's fleet.
const nodes = 2

// settings of each app. Health is patient: on a machine that has nothing left, nodes are slow, not ill.
const settings = `app: %s
recipe: recipe.yaml
fleet: {driver: sandbox, size: %d, stop: {grace: 5s}}
health: {http: {path: /, port: 8080}, timeout: 10s, unhealthy_after: 5, start_within: 2m}
route: {listen: %q%s}
cutover:
  keep_previous: 1m
  steps: [{percent: 10, hold: 200ms}, {percent: 50, hold: 200ms}, {percent: 100}]
  drain: {timeout: 1m, long_connections: 2s, close_within: 1s}
`

// stage is an installation with its apps, images and traffic.
type stage struct {
	*harness.Installation
	t      *testing.T
	m      *routertest.Mix
	images []string
	on     map[app]int // which image serves
	deaths []routertest.Death
}

// app is one of them, named by its file.
type app string

var apps = []app{"plain.yaml", "secure.yaml", "calls.yaml"}

func newStage(t *testing.T) *stage {
	t.Helper()
	in := suite.New(t, "sandbox")
	m := &routertest.Mix{Plain: in.Listen, TLS: harness.FreeAddress(t), GRPC: harness.FreeAddress(t), Times: 2}
	s := &stage{Installation: in, t: t, m: m, on: map[app]int{}}
	cert := routertest.Certificate(t, in.Dir, 1, "x")
	in.Write("plain.yaml", fmt.Sprintf(settings, "plain", nodes, m.Plain, ""))
	in.Write("secure.yaml", fmt.Sprintf(settings, "secure", nodes, m.TLS, fmt.Sprintf(", tls: {cert: %q, key: %q}", cert.Cert, cert.Key)))
	in.Write("calls.yaml", fmt.Sprintf(settings, "calls", nodes, m.GRPC, ", node_http: h2c"))
	in.Write("recipe.yaml", "name: node\nbase: scratch\ncopy: [{from: ./bin/node, to: /node}, {from: ./version, to: /version}]\nports: [8080]\nentrypoint: [/node]\n")
	s.build()
	for _, version := range []string{"v1", "v2"} {
		s.images = append(s.images, s.bake(version))
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(s.routerDir(), "router.log"))
			t.Logf("the router's log ends with:\n%s", b[max(0, len(b)-4000):])
		}
		for _, a := range apps {
			if t.Failed() {
				lines := strings.Split(s.Run("-c", string(a), "events").Stdout, "\n")
				t.Logf("%s: the events end with:\n%s", a, strings.Join(lines[max(0, len(lines)-200):], "\n"))
			}
			s.do(a, "destroy", "-y")
		}
	})
	for _, a := range apps {
		s.do(a, "up", s.images[0])
	}
	return s
}

// build makes the node's program.
func (s *stage) build() {
	s.t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(s.Project, "bin/node"), "./test/stress/node")
	cmd.Dir, cmd.Env = harness.Root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("build node: %v\n%s", err, out)
	}
}

// bake makes an image of the node, which another version makes another one.
func (s *stage) bake(version string) string {
	s.t.Helper()
	s.Write("version", version)
	var res api.BakeResult
	if code := s.JSON(&res, "-c", "plain.yaml", "bake"); code != 0 {
		s.t.Fatalf("bake: exit code %d: %+v", code, res.Error)
	}
	return res.Image
}

// other is the image that does not serve.
func (s *stage) other(a app) string { return s.images[1-s.on[a]] }

// do runs a verb for an app, which must succeed.
func (s *stage) do(a app, args ...string) api.OperationResult {
	s.t.Helper()
	return s.Operate(append([]string{"-c", string(a)}, args...)...)
}

// cutover launches a fresh fleet and moves all traffic to it, step by step.
func (s *stage) cutover(a app) {
	s.t.Helper()
	s.do(a, "launch", s.other(a))
	s.shifted(a, s.do(a, "cutover"))
}

// rollback goes back to the release before.
func (s *stage) rollback(a app) {
	s.t.Helper()
	s.shifted(a, s.do(a, "rollback"))
}

// shifted holds that an operation moved all traffic to another release.
func (s *stage) shifted(a app, op api.OperationResult) {
	s.t.Helper()
	if op.Percent != 100 || op.Release == "" || op.From == "" || op.Release == op.From {
		s.t.Errorf("%s: no traffic was moved: %+v", a, op)
	}
	s.on[a] = 1 - s.on[a]
}

// cutoverWithoutAgent is a cutover whose agent is killed in the middle; the next command starts another one, which finishes.
func (s *stage) cutoverWithoutAgent(a app) {
	s.t.Helper()
	s.do(a, "launch", s.other(a))
	s.Run("-c", string(a), "cutover", "--detach")
	_ = syscall.Kill(s.Agent().PID, syscall.SIGKILL)
	s.Until("the cutover to end after its agent was killed", 2*time.Minute, func() bool {
		status, ok := s.status(a)
		return ok && status.Operation == nil
	})
	status, _ := s.status(a)
	for _, fl := range status.Fleets {
		if fl.State == "serving" && fl.Image != s.other(a) {
			s.t.Errorf("%s: %s serves after a cutover without its agent", a, fl.Release)
		}
	}
	s.on[a] = 1 - s.on[a]
}

// status is not there while an agent has just ended.
func (s *stage) status(a app) (res api.StatusResult, ok bool) {
	s.t.Helper()
	return res, s.JSON(&res, "-c", string(a), "status") == 0
}

// serving are the healthy nodes of the fleet that serves.
func (s *stage) serving(a app) []api.Node {
	s.t.Helper()
	status, _ := s.status(a)
	return harness.Serving(status)
}

// kill kills a serving node, and waits until another one is in its place.
func (s *stage) kill(a app) {
	s.t.Helper()
	victim := s.serving(a)[0]
	s.deaths = append(s.deaths, routertest.Death{Node: victim.ID, At: time.Now()})
	if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
		s.t.Errorf("kill %s: %v", victim.ID, err)
	}
	s.Until(victim.ID+" to be replaced", time.Minute, func() bool {
		list := s.serving(a)
		for _, n := range list {
			if n.ID == victim.ID {
				return false
			}
		}
		return len(list) == nodes
	})
}

// upgrade makes another process the router.
func (s *stage) upgrade() {
	s.t.Helper()
	before := s.router().PID
	s.Must("router", "upgrade")
	if after := s.router(); after.PID == before {
		s.t.Errorf("after the upgrade process %d is the router still", before)
	}
}

func (s *stage) routerDir() string { return filepath.Join(s.Dir, "s/router") }

func (s *stage) router() embedded.Status {
	s.t.Helper()
	status, err := embedded.NewClient(s.routerDir()).Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return status
}

// wait lets clients send, until they have sent so many requests in all.
func (s *stage) wait(requests int64) {
	s.t.Helper()
	for last, since := s.m.Requests.Load(), time.Now(); last < requests; time.Sleep(10 * time.Millisecond) {
		if n := s.m.Requests.Load(); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > 2*time.Minute {
			s.t.Fatal("the clients stand still")
		}
	}
}

// charged is what the history says that all operations cost.
func (s *stage) charged() (sum api.Ledger) {
	s.t.Helper()
	for _, a := range apps {
		var h api.HistoryResult
		if code := s.JSON(&h, "-c", string(a), "history"); code != 0 {
			s.t.Fatalf("history: exit code %d: %+v", code, h.Error)
		}
		for _, o := range h.Operations {
			sum.Cut, sum.Retried = sum.Cut+o.Ledger.Cut, sum.Retried+o.Ledger.Retried
			sum.Failed, sum.Requests = sum.Failed+o.Ledger.Failed, sum.Requests+o.Ledger.Requests
		}
	}
	return sum
}
