package crash

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/load"
)

// ofMachines has two nodes, which may be emulated on a busy machine: one of them may not get to taking a connection while another one boots.
const ofMachines = `app: hello
recipe: recipe.yaml
fleet: {driver: qemu, size: 2, stop: {grace: 5s}}
health: {http: {path: /healthz, port: 8080}, timeout: 10s, unhealthy_after: 10, start_within: 5m}
route: {listen: %q}
cutover: {drain: {timeout: 5s}}
`

// machinePatience bounds an operation with boots in it.
const machinePatience = 6 * time.Minute

// TestAgentOfMachinesKilled replaces a machine with an agent that dies when the new one is minted and recorded but does not run, and when the
// old one has been stopped but not removed. The rest of a day is that of sandboxes.
func TestAgentOfMachinesKilled(t *testing.T) {
	template := suite.New(t, "qemu")
	image := template.Bake("v1")
	for point, passing := range map[failpoint.Point]int{failpoint.NodeRecorded: 3, failpoint.NodeKilled: 1} {
		t.Run(string(point), func(t *testing.T) {
			s := newStory(t, "qemu", fmt.Sprintf("%s:%d", point, passing))
			if out, err := exec.Command("cp", "-a", filepath.Join(template.Dir, "i"), filepath.Join(s.Dir, "i")).CombinedOutput(); err != nil {
				t.Fatalf("copy images: %v\n%s", err, out)
			}
			s.Write("release.yaml", fmt.Sprintf(ofMachines, s.Listen))
			s.Keep("RELEASE_FAILPOINT="+s.point, "RELEASE_FAILPOINT_DIR="+s.dir)
			s.asks(0, "up", image, "--timeout", machinePatience.String())
			s.replaced()
			if s.died().IsZero() {
				t.Errorf("nobody died at %s", s.point)
			}
			s.nothingButWhatRuns()
			s.asks(0, "destroy", "-y", "--timeout", machinePatience.String())
			s.nothingLeft()
		})
	}
}

// replaced replaces a node while users come, who notice nothing.
func (s *story) replaced() {
	s.t.Helper()
	before := harness.Serving(s.status())
	if len(before) != 2 {
		s.t.Fatalf("the nodes that serve are %+v", before)
	}
	report, err := load.During(s.t.Context(), load.Options{URL: "http://" + s.Listen + "/", Rate: 5, Timeout: time.Minute}, func() {
		out := s.repeat("replace", before[0].ID, "--timeout", machinePatience.String())
		if out.Code != 0 && s.died().IsZero() { // the next agent may know that node no more
			s.t.Errorf("replace: exit code %d\n%s%s", out.Code, out.Stdout, out.Stderr)
		}
		s.Until("another machine to serve in its place", machinePatience, func() bool {
			now := harness.Serving(s.status())
			return len(now) == 2 && now[0].ID != before[0].ID && now[1].ID != before[0].ID
		})
	})
	if err != nil {
		s.t.Error(err)
	}
	s.judge(report)
}
