package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sandbox"
)

func sharedPorts(base int) Options {
	return Options{SharedNetwork: true, Ports: local.Ports{First: base, Count: 50}}
}

func TestPortTakenByAnotherProgram(t *testing.T) {
	w := newWorld(t, sharedPorts(24_000))
	d := w.driver(t, "")
	for _, address := range []string{"127.0.0.1:24000", ":24000"} {
		l, err := net.Listen("tcp", address)
		check(t, err)
		spec := w.spec(t, d, 2, 0)
		nodes, err := d.Ensure(t.Context(), spec)
		if !fault.Is(err, fault.Exists) || !strings.Contains(err.Error(), "port 24000 ") {
			t.Errorf("%s: %v", address, err)
		}
		if len(nodes) != 1 || nodes[0].Slot != 1 {
			t.Errorf("%s: the other node is not booted: %+v", address, nodes)
		}
		check(t, l.Close())
		check(t, d.Destroy(t.Context(), spec.Fleet))
	}
}

func TestSecretsAreNotOnDisk(t *testing.T) {
	w := newWorld(t, sharedPorts(24_100))
	d := w.driver(t, "")
	spec := w.spec(t, d, 1, 0)
	spec.Secrets = map[string]string{"TOKEN": "hush-hush-hush"}
	_, err := d.Ensure(t.Context(), spec)
	check(t, err)
	check(t, filepath.WalkDir(d.opts.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil
		}
		if data, err := os.ReadFile(path); err == nil && strings.Contains(string(data), "hush-hush") {
			t.Errorf("%s holds the secret", path)
		}
		return nil
	}))
}

// The agent is killed at each point of a boot, by the test that runs itself again as agent; the next driver finds a
// clean slate or the whole node.
func TestAgentKilledDuringBoot(t *testing.T) {
	const pointVar = "DRIVER_TEST_DIE"
	if point := os.Getenv(pointVar); point != "" {
		dieAt(t, point)
		return
	}
	for _, point := range []string{"record", "clone", "attach", "started"} {
		t.Run(point, func(t *testing.T) {
			w := newWorld(t, sharedPorts(24_200))
			cmd := exec.Command("/proc/self/exe", "-test.run", "^TestAgentKilledDuringBoot$")
			cmd.Env = append(os.Environ(), pointVar+"="+point, "DRIVER_TEST_DIR="+w.dir, "DRIVER_TEST_DIGEST="+w.digest)
			if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the agent was not killed: %v\n%s", err, out)
			}
			d := w.driver(t, "")
			spec := w.spec(t, d, 1, 0)
			eventually(t, "nothing of a half-booted node runs", func() bool { return initsIn(t, d.opts.Dir) == 0 })
			nodes, err := d.Nodes(t.Context(), spec.Fleet)
			check(t, err)
			if point != "started" && len(nodes) != 0 {
				t.Fatalf("found %+v; its command never ran", nodes)
			}
			if point == "started" {
				// The record says started and the leave was never given: the node is gone, with the reason, and is
				// not run again.
				if len(nodes) != 1 || nodes[0].Presence != fleet.Gone || nodes[0].Exit == nil || !strings.Contains(nodes[0].Exit.Reason, "could not start") {
					t.Fatalf("found %+v", nodes)
				}
				check(t, d.Remove(t.Context(), nodes[0].ID, 0))
			}
			nodes, err = d.Ensure(t.Context(), spec)
			check(t, err)
			if len(nodes) != 1 || nodes[0].Presence != fleet.Present {
				t.Errorf("booted again: %+v", nodes)
			}
		})
	}
}

// A job whose start is cut off, when it may have begun, is as it is for every later call: gone, or with its exit.
func TestJobCutOffIsNotRunAgain(t *testing.T) {
	w := newWorld(t, sharedPorts(24_400))
	for i := range 5 {
		d := w.driver(t, "")
		spec := w.spec(t, d, 1, i)
		spec.Fleet.Incarnation = i + 1
		spec.Nodes[0].Name += fmt.Sprintf("-%d", i)
		spec.Kind, spec.Command, spec.Port = fleet.Once, []string{"/testnode", "exit", "5"}, 0
		t.Cleanup(func() { check(t, d.Destroy(context.Background(), spec.Fleet)) })
		ctx, cancel := context.WithCancel(t.Context())
		var started record
		d.afterRecord = func() {
			var err error
			started, err = d.nodes.Read(spec.Nodes[0].Name)
			check(t, err)
			cancel()
		}
		_, _ = d.Ensure(ctx, spec)
		d.afterRecord = func() { t.Error("the job is started a second time") }
		nodes, err := d.Ensure(t.Context(), spec)
		check(t, err)
		now, err := d.nodes.Read(spec.Nodes[0].Name)
		check(t, err)
		if len(nodes) != 1 || now.PID != started.PID || now.StartTime != started.StartTime {
			t.Errorf("started as %+v, now %+v: %+v", started, now, nodes)
		}
		eventually(t, "the job to be over", func() bool {
			nodes, err := d.Nodes(t.Context(), spec.Fleet)
			check(t, err)
			return len(nodes) == 1 && nodes[0].Presence == fleet.Gone && (nodes[0].Exit == nil || nodes[0].Exit.Code != 0)
		})
	}
}

// initsIn counts the inits whose standard error is a file in the folder.
func initsIn(t *testing.T, dir string) (n int) {
	entries, err := os.ReadDir("/proc")
	check(t, err)
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join("/proc", e.Name(), "fd/2"))
		if err == nil && strings.HasPrefix(to, dir) {
			n++
		}
	}
	return n
}

// dieAt is the agent that is killed.
func dieAt(t *testing.T, point string) {
	die := func() { check(t, unix.Kill(os.Getpid(), unix.SIGKILL)); select {} }
	w := &world{t: t, dir: os.Getenv("DRIVER_TEST_DIR"), digest: os.Getenv("DRIVER_TEST_DIGEST"), opts: sharedPorts(24_200)}
	w.openStore()
	d := w.driver(t, "")
	d.network = &deadly{network: d.network, point: point, die: die}
	spec := w.spec(t, d, 1, 0)
	if point == "record" {
		r := record{Record: local.NewRecord(d.opts.Installation, spec, spec.Nodes[0], d.opts.Now())}
		check(t, d.makeFolder(r, w.dir))
		die()
	}
	if point == "started" {
		d.afterRecord = die
	}
	_, err := d.Ensure(t.Context(), spec)
	t.Fatal("lives on", err)
}

// deadly kills the agent at a point where the network is asked.
type deadly struct {
	network
	point string
	die   func()
}

func (n *deadly) attach(pid, slot int) error {
	if n.point == "clone" {
		n.die()
	}
	err := n.network.attach(pid, slot)
	if n.point == "attach" {
		n.die()
	}
	return err
}

// A machine that was restarted has none of its nodes, whatever process has their numbers now.
func TestOtherBootIsGone(t *testing.T) {
	w := newWorld(t, sharedPorts(24_300))
	d := w.driver(t, "")
	spec := w.spec(t, d, 1, 0)
	nodes, err := d.Ensure(t.Context(), spec)
	check(t, err)
	r, err := d.nodes.Read(spec.Nodes[0].Name)
	check(t, err)
	l, err := d.liveOf(r)
	check(t, err)
	check(t, l.process.Kill())
	<-l.process.Done()
	r.BootID, r.PID = "another", os.Getpid()
	check(t, d.writeRecord(r))
	again := w.driver(t, "")
	found, err := again.Nodes(t.Context(), spec.Fleet)
	check(t, err)
	if len(found) != 1 || found[0].Presence != fleet.Gone || found[0].Exit != nil || !found[0].Since.Equal(nodes[0].Since) {
		t.Errorf("found %+v", found)
	}
	check(t, again.Remove(t.Context(), found[0].ID, time.Second))
	if err := unix.Kill(os.Getpid(), 0); err != nil {
		t.Error(err)
	}
}

func TestHostileAndForeignNames(t *testing.T) {
	w := newWorld(t, sharedPorts(24_400))
	d := w.driver(t, "")
	spec := w.spec(t, d, 1, 0)
	_, err := d.Ensure(t.Context(), spec)
	check(t, err)
	for _, name := range []string{"../../x", "", ".", "A", "a/b", strings.Repeat("a", 80)} {
		bad := spec
		bad.Nodes = []fleet.NodeSpec{{Name: name, Slot: 1}}
		if _, err := d.Ensure(t.Context(), bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("name %q: %v", name, err)
		}
		if err := d.Remove(t.Context(), fleet.NodeID{Fleet: spec.Fleet, Node: name}, 0); err != nil {
			t.Errorf("remove %q: %v", name, err)
		}
		if _, err := d.Logs(t.Context(), fleet.NodeID{Fleet: spec.Fleet, Node: name}, fleet.LogOptions{}); !errors.Is(err, fleet.ErrNoNode) {
			t.Errorf("logs of %q: %v", name, err)
		}
	}
	taken := spec
	taken.Fleet.Incarnation = 2
	if _, err := d.Ensure(t.Context(), taken); !fault.Is(err, fault.Exists) {
		t.Errorf("a name of another fleet: %v", err)
	}
	taken = spec
	taken.Stop.Signal = "NONSENSE"
	taken.Nodes = []fleet.NodeSpec{{Name: "other", Slot: 1}}
	if _, err := d.Ensure(t.Context(), taken); !fault.Is(err, fault.Invalid) {
		t.Errorf("stop signal: %v", err)
	}
}

// Rubbish in the nodes folder is neither a node nor an obstacle.
func TestDamagedRecord(t *testing.T) {
	w := newWorld(t, sharedPorts(24_500))
	d := w.driver(t, "")
	spec := w.spec(t, d, 1, 0)
	name := spec.Nodes[0].Name
	for _, text := range []string{"", "{", `{"schema":1,"id":{"Node":"other"}}`} {
		check(t, os.MkdirAll(d.nodes.Dir(name), 0o700))
		check(t, os.WriteFile(filepath.Join(d.nodes.Dir(name), "record.json"), []byte(text), 0o600))
		d := w.driver(t, "")
		if fleets, err := d.Fleets(t.Context()); err != nil || len(fleets) != 0 {
			t.Errorf("%q: fleets %v, %v", text, fleets, err)
		}
		nodes, err := d.Ensure(t.Context(), spec)
		if err != nil || len(nodes) != 1 || nodes[0].Presence != fleet.Present {
			t.Errorf("%q: ensure %+v, %v", text, nodes, err)
		}
		check(t, d.Destroy(t.Context(), spec.Fleet))
	}
	check(t, os.MkdirAll(d.nodes.Dir(name), 0o700))
	check(t, os.WriteFile(filepath.Join(d.nodes.Dir(name), "record.json"), fmt.Appendf(nil, `{"schema":99,"id":{"Fleet":"a/b/c/d/1","Node":%q}}`, name), 0o600))
	if _, err := New(d.opts); !fault.Is(err, fault.Unsupported) {
		t.Errorf("record of the future: %v", err)
	}
	check(t, os.RemoveAll(d.nodes.Dir(name)))
}

// Nothing is left of a fleet; the ends of its logs went to whoever keeps them (Options).
func TestNothingIsLeft(t *testing.T) {
	for name, opts := range map[string]Options{"SharedNetwork": sharedPorts(24_600), "own network": {}} {
		t.Run(name, func(t *testing.T) {
			if !opts.SharedNetwork {
				requireRoot(t)
			}
			w := newWorld(t, opts)
			d := w.driver(t, "")
			spec := w.spec(t, d, 3, 0)
			nodes, err := d.Ensure(t.Context(), spec)
			check(t, err)
			for _, n := range nodes {
				eventually(t, "it answers", func() bool { return asked(n) })
			}
			check(t, d.Remove(t.Context(), nodes[0].ID, time.Second))
			check(t, d.Destroy(t.Context(), spec.Fleet))
			for _, dir := range []string{"nodes", "trash"} {
				if entries, err := os.ReadDir(d.path(dir)); err != nil || len(entries) != 0 {
					t.Errorf("%s holds %v, %v", dir, entries, err)
				}
			}
			if _, err := d.Logs(t.Context(), nodes[0].ID, fleet.LogOptions{Tail: 1}); !errors.Is(err, fleet.ErrNoNode) {
				t.Errorf("logs of a node that is gone: %v", err)
			}
			if own, ok := d.network.(*ownNetwork); ok {
				noTrace(t, own)
			}
			if sandbox.OutOfMemory(shortHash(d.opts.Installation) + "-" + nodes[0].ID.Node) {
				t.Error("a group is left")
			}
		})
	}
}

func asked(n fleet.Node) bool {
	resp, err := http.Get("http://" + n.Address)
	if err == nil {
		_ = resp.Body.Close()
	}
	return err == nil
}

func noTrace(t *testing.T, n *ownNetwork) {
	t.Helper()
	if _, err := net.InterfaceByName(n.bridgeName()); err == nil {
		t.Error("the bridge is left")
	}
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err == nil && (strings.Contains(string(out), n.tableName()) || strings.Contains(string(out), n.bridgeName())) {
		t.Errorf("rules are left:\n%s", out)
	}
	interfaces, err := net.Interfaces()
	check(t, err)
	for _, i := range interfaces {
		if strings.HasPrefix(i.Name, "rv"+n.tag) {
			t.Errorf("link %s is left", i.Name)
		}
	}
}

func TestFreeSubnet(t *testing.T) {
	p := netip.MustParsePrefix
	for _, c := range []struct {
		start int
		taken []netip.Prefix
		want  string
	}{
		{5, nil, "10.5.0.0/16"},
		{5, []netip.Prefix{p("10.5.7.0/24")}, "10.6.0.0/16"},
		{255, []netip.Prefix{p("10.255.0.0/16"), p("10.0.0.0/24")}, "10.1.0.0/16"},
		{0, []netip.Prefix{p("10.0.0.0/9"), p("192.168.0.0/16")}, "10.128.0.0/16"},
		{0, []netip.Prefix{p("10.0.0.0/8")}, "invalid Prefix"},
	} {
		if got, _ := freeSubnet(c.start, c.taken); got.String() != c.want {
			t.Errorf("from %d with %v: %s, want %s", c.start, c.taken, got, c.want)
		}
	}
	n := &ownNetwork{subnet: p("10.9.0.0/28")}
	for slot, want := range map[int]string{0: "10.9.0.2:80", 12: "10.9.0.14:80", 13: "", -1: ""} {
		if _, got, err := n.place(slot, 80); got != want || (err == nil) != (want != "") {
			t.Errorf("slot %d: %s, %v", slot, got, err)
		}
	}
}

func TestLogFilesInOrder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"log.2": "1\n2\n", "log.1": "3\n", "log": "4\n5\n"} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	f := &follower{dir: dir}
	var all strings.Builder
	f.w = &all
	oldest, err := os.Open(filepath.Join(dir, "log.2"))
	check(t, err)
	f.file = oldest
	check(t, f.copy())
	if all.String() != "1\n2\n3\n4\n5\n" {
		t.Errorf("followed %q", all.String())
	}
	check(t, os.Rename(dir+"/log", dir+"/log.1"))
	check(t, os.WriteFile(dir+"/log", []byte("6\n"), 0o600))
	check(t, f.copy())
	if !strings.HasSuffix(all.String(), "5\n6\n") {
		t.Errorf("followed %q", all.String())
	}
	f.close()
}

// Unpacking says how far it is, to its end; what is unpacked has nothing to say.
func TestPrepareReports(t *testing.T) {
	w := newWorld(t, Options{SharedNetwork: true, Ports: local.Ports{First: 23_600, Count: 100}})
	d := w.driver(t, "")
	spec := fleet.Spec{Fleet: fleet.FleetID{App: "a", Env: "e", Role: "web", Release: "r1", Incarnation: 1}, Image: w.digest}
	for _, first := range []bool{true, false} {
		var seen []fleet.Progress
		check(t, d.PrepareReporting(t.Context(), spec, func(p fleet.Progress) { seen = append(seen, p) }))
		if !first {
			if len(seen) > 0 {
				t.Errorf("of an unpacked image it says %v", seen)
			}
			break
		}
		if len(seen) < 2 || seen[0].Done != 0 || seen[len(seen)-1].Percent() != 100 || seen[0].Doing != "unpacking" {
			t.Errorf("it says %v", seen)
		}
	}
}
