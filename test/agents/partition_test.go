package agents

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/load"
	"github.com/bootandshoot/release/test/tools/consultest"
)

// extent is how much is done: cutovers, and requests at least; rate is requests a second at each of the edges.
func extent() (cutovers, requests int, rate float64) {
	if os.Getenv("RELEASE_STRESS") == "full" {
		return 100, 1_000_000, 1000
	}
	return 8, 0, 100
}

// TestEverythingAtOnce: users come to two edges on machines of their own while traffic moves to and fro. In the middle of a cutover
// Consul's leader, one of three servers, and the agent that leads are killed, and one edge is cut off from Consul and agents, with
// users still coming to it. The other agent ends the cutover with the edge that is left; the one that is cut off goes on with
// its last table, whose nodes all stay; and when it is back, it has the new one, and the old fleet is shot. No request is lost.
func TestEverythingAtOnce(t *testing.T) {
	cutovers, requests, rate := extent()
	n := newNetwork(t)
	c := clusterOf(t, consultest.Options{Servers: 3, Host: n.host})
	const routed, warm = "router: {backend: consul}\n", "cutover: {keep_previous: 30m, drain: {timeout: 5s}}\n"
	second, first := c.agent("docker", routed), c.agent("docker", routed)
	for _, in := range []*harness.Installation{first, second} {
		in.Listen = ":8080"
		in.WriteProject("docker", 3, warm)
	}
	defer func() {
		if t.Failed() { // while the edges live: without them nothing could be shot
			second.Run("destroy", "-y", "--timeout", "60s")
		}
	}()
	edges := []*machine{n.machine(), n.machine()}
	for i, m := range edges {
		c.edgeAt(second, fmt.Sprintf("edge%d", i), m)
	}
	first.Bake("v1")
	first.Operate("up")
	standBy(t, second, first.Agent().Name)
	installation := installationOf(t, first)
	users := connect(t, installation, edges)
	for _, u := range users {
		awaitVersion(t, first, u, "v1")
	}
	first.Bake("v2")

	var reports [2]load.Report
	counts, stop := sendTo(t, users, rate, reports[:])
	first.Operate("up")
	for i := range cutovers / 2 {
		toAndFro(first, i)
	}
	first.WriteProject("docker", 3, "cutover: {keep_previous: 1s, drain: {timeout: 5s}}\n") // r3 is to be shot soon after it lost its traffic
	first.Bake("v3")
	first.Operate("up")
	first.WriteProject("docker", 3, "cutover: {steps: [{percent: 50, hold: 10s}, {percent: 100}], keep_previous: 30m, drain: {timeout: 5s}}\n")
	first.Bake("v4")
	first.Must("up", "--detach")
	first.Until("half of the traffic on r4", 2*time.Minute, func() bool { return weight(first.Status(), "r4") == 50 })

	edges[1].partition(true)
	c.consul.Leader().Kill()
	kill(t, first.Agent().PID)
	t.Logf("taken over after %s", leads(t, second, 90*time.Second).Round(time.Millisecond))
	second.Until("all of it on r4", 2*time.Minute, func() bool {
		s := second.Status()
		return weight(s, "r4") == 100 && s.Operation == nil
	})
	awaitVersion(t, second, users[0], "v4")
	second.Until("the old fleet to be held for the edge that is cut off", time.Minute, func() bool {
		return strings.Contains(second.Must("events").Stdout, "release router forget")
	})
	if old := fleetOf(t, installation, "-r3-"); len(old) != 3 {
		t.Errorf("nodes that the edge that is cut off may route to are gone: there are %v", old)
	}
	if got := second.Run("doctor").Stdout; !strings.Contains(got, "release router forget") {
		t.Errorf("doctor does not name the silent edge:\n%s", got)
	}

	edges[1].partition(false)
	awaitVersion(t, second, users[1], "v4")
	second.Until("the old fleet to be shot", 2*time.Minute, func() bool { return len(fleetOf(t, installation, "-r3-")) == 0 })
	second.WriteProject("docker", 3, warm)
	second.Bake("v5")
	second.Operate("up")
	for i := range cutovers / 2 {
		toAndFro(second, i)
	}
	for i := 0; counts() < requests; i++ {
		toAndFro(second, i)
	}
	stop()
	for i, report := range reports {
		t.Logf("edge %d: %s", i, report)
		if len(report.Failures) > 0 {
			t.Errorf("edge %d: %d of %d requests failed, the first: %+v", i, len(report.Failures), report.Sent, report.Failures[0])
		}
	}
	second.Must("destroy", "-y")
	second.Must("agent", "stop")
}

// edgeAt runs an edge on a machine of its own, with a Consul agent beside it as each machine has one.
func (c *cluster) edgeAt(in *harness.Installation, name string, m *machine) {
	c.t.Helper()
	member := c.consul.ClientAt(m.Address, m.enter()...)
	if err := os.WriteFile(filepath.Join(in.Dir, name+".yaml"), []byte(storeAt(member)), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.edgeIn(in, name, m.enter()...)
}

// connect gives machines a line to the nodes' network, at its highest addresses, and says where users find their edges.
func connect(t *testing.T, installation string, machines []*machine) (users []string) {
	t.Helper()
	out, err := exec.Command("docker", "network", "inspect", "release-"+installation, "--format", "{{.Id}} {{(index .IPAM.Config 0).Subnet}}").Output()
	id, subnet, found := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || !found {
		t.Fatalf("inspect the nodes' network: %v: %s", err, out)
	}
	p, err := netip.ParsePrefix(subnet)
	if err != nil {
		t.Fatal(err)
	}
	at := p.Masked().Addr().As4()
	size := 1 << (32 - p.Bits())
	for i, m := range machines {
		last := size - 2 - i
		a := netip.AddrFrom4([4]byte{at[0], at[1], at[2] + byte(last>>8), byte(last)})
		m.line("br-"+id[:12], fmt.Sprintf("%s/%d", a, p.Bits()))
		users = append(users, a.String()+":8080")
	}
	return users
}

// toAndFro moves all traffic between two warm releases, the newer one first back.
func toAndFro(in *harness.Installation, i int) {
	verb := "rollback"
	if i%2 == 1 {
		verb = "cutover"
	}
	if verb == "cutover" {
		in.Operate(verb, newest(in))
		return
	}
	in.Operate(verb)
}

// newest is the release of the highest number that runs.
func newest(in *harness.Installation) string {
	var releases []string
	for _, fl := range in.Status().Fleets {
		releases = append(releases, fl.Release)
	}
	return slices.Max(releases) // r1 to r9
}

// fleetOf are the nodes at the engine whose name has the part given.
func fleetOf(t *testing.T, installation, part string) []string {
	t.Helper()
	return slices.DeleteFunc(containers(t, installation), func(name string) bool { return !strings.Contains(name, part) })
}

// awaitVersion waits until users of an edge get one version alone.
func awaitVersion(t *testing.T, in *harness.Installation, listen, version string) {
	t.Helper()
	in.Until(version+" at "+listen, time.Minute, func() bool { return serves(listen) == version })
}

// sendTo sends requests to all addresses. counts is how many were sent so far; stop ends them and completes the reports.
func sendTo(t *testing.T, listens []string, rate float64, reports []load.Report) (counts func() int, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var mu sync.Mutex
	sent := make([]int, len(listens))
	for i, listen := range listens {
		all.Go(func() {
			report, err := load.Run(ctx, load.Options{URL: "http://" + listen + "/", Rate: rate, Duration: 40 * time.Minute,
				Progress: func(c load.Counts) {
					mu.Lock()
					defer mu.Unlock()
					sent[i] = c.Sent
				}})
			if err != nil {
				t.Error(err)
			}
			reports[i] = report
		})
	}
	counts = func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range sent {
			n += s
		}
		return n
	}
	return counts, func() {
		cancel()
		all.Wait()
	}
}
