package docker

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

func TestLaunch(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	spec := w.spec(w.image(), 0, 3)
	spec.Env = map[string]string{"LEVEL": "info", "PORT": "1"}
	spec.Secrets = map[string]string{"KEY": "s3cret"}
	spec.Resources = fleet.Resources{CPUs: 0.5, Memory: 64 << 20}
	for range 2 {
		if err := d.Prepare(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	nodes := w.launch(d, spec)
	for i, n := range nodes {
		if n.ID.Node != spec.Nodes[i].Name || n.Presence != fleet.Present || n.Image != spec.Image {
			t.Errorf("node %d is %+v", i, n)
		}
		if got := answer(t, n.Address, "/"); got != n.ID.Node {
			t.Errorf("%s answers as %q, want %q", n.Address, got, n.ID.Node)
		}
	}
	for k, want := range map[string]string{"LEVEL": "info", "PORT": "8080", "KEY": "s3cret", "IMAGE_ENV": "from-image"} {
		if got := answer(t, nodes[0].Address, "/env?"+k); got != want {
			t.Errorf("%s is %q, want %q", k, got, want)
		}
	}
	c := inspect(t, d, spec.Nodes[0].Name)
	if c.HostConfig.NanoCPUs != 5e8 || c.HostConfig.Memory != 64<<20 || c.HostConfig.RestartPolicy.Name != "no" {
		t.Errorf("limits or restart policy are not set: %+v", c.HostConfig)
	}
	for k, v := range c.Config.Labels {
		if strings.Contains(v, "s3cret") {
			t.Errorf("label %s holds the secret", k)
		}
	}
	adopted(t, w, spec, nodes)
}

// adopted proves that a second driver finds the same nodes and starts none anew, and takes them away.
func adopted(t *testing.T, w *world, spec fleet.Spec, nodes []fleet.Node) {
	d := w.driver()
	found, err := d.Nodes(t.Context(), spec.Fleet)
	if err != nil || len(found) != len(nodes) {
		t.Fatalf("got %d nodes, error %v", len(found), err)
	}
	host, _ := os.Hostname()
	again := w.launch(d, spec)
	for i, n := range again {
		at := slices.IndexFunc(found, func(f fleet.Node) bool { return f.ID == n.ID })
		if at < 0 || found[at].PID != n.PID || n.PID == 0 || n.Address != nodes[i].Address || n.Slot != nodes[i].Slot || n.Host != host || n.Since.IsZero() {
			t.Errorf("node is %+v, was %+v", n, nodes[i])
		}
	}
	fleets, err := d.Fleets(t.Context())
	if err != nil || len(fleets) != 1 || fleets[0] != (fleet.Fleet{ID: spec.Fleet, Nodes: 3}) {
		t.Errorf("fleets are %v, error %v", fleets, err)
	}
	for range 2 {
		if err := d.Remove(t.Context(), nodes[0].ID, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if found, _ = d.Nodes(t.Context(), spec.Fleet); len(found) != 2 {
		t.Errorf("%d nodes are left, want 2", len(found))
	}
	for range 2 {
		if err := d.Destroy(t.Context(), spec.Fleet); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.engine.NetworkInspect(t.Context(), d.bridgeName(), network.InspectOptions{}); !errdefs.IsNotFound(err) {
		t.Errorf("the network is left: %v", err)
	}
	if _, err := d.engine.ImageInspect(t.Context(), d.pulledName(spec.Image)); !errdefs.IsNotFound(err) {
		t.Errorf("the image is left: %v", err)
	}
}

func TestExits(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	img := w.image()
	for i, c := range []struct {
		command []string
		memory  int64
		want    fleet.Exit
		reason  string
	}{
		{[]string{"/probe", "exit", "0"}, 0, fleet.Exit{Code: 0}, ""},
		{[]string{"/probe", "exit", "3"}, 0, fleet.Exit{Code: 3}, ""},
		{[]string{"/missing"}, 0, fleet.Exit{Code: 127}, "could not start: the program /missing is not in the image"},
		{[]string{"missing"}, 0, fleet.Exit{Code: 127}, "could not start: the program missing is not in the image: it is not in PATH"},
		{[]string{"/probe", "exit", "127"}, 0, fleet.Exit{Code: 127}, "as a rule"},
		{[]string{"/probe", "eat", "200"}, 32 << 20, fleet.Exit{Code: 137, Signal: "KILL"}, "out of memory"},
	} {
		t.Run(strings.Join(c.command, " "), func(t *testing.T) {
			s := w.spec(img, i, 1)
			s.Kind, s.Command, s.Resources.Memory = fleet.Once, c.command, c.memory
			w.launch(d, s)
			n := ended(t, d, s.Fleet)
			if n.Exit == nil || n.Exit.Code != c.want.Code || n.Exit.Signal != c.want.Signal || !strings.Contains(n.Exit.Reason, c.reason) || n.Exit.At.IsZero() {
				t.Errorf("exit is %+v, want %+v %s", n.Exit, c.want, c.reason)
			}
			again := w.launch(d, s) // never run again
			if again[0].Presence != fleet.Gone || !again[0].Exit.At.Equal(n.Exit.At) {
				t.Errorf("ensured again it is %+v, exit %+v", again[0], again[0].Exit)
			}
		})
	}
}

func TestRemoveAsksFirst(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	s := w.spec(w.image(), 0, 2)
	s.Stop.Signal = "INT"
	nodes := w.launch(d, s)
	answer(t, nodes[0].Address, "/")
	log, err := d.Logs(t.Context(), nodes[0].ID, fleet.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := d.Remove(t.Context(), nodes[0].ID, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if text := readAll(t, log); !strings.Contains(text, " out got interrupt\n") {
		t.Errorf("the node was not asked by its own signal; its log is %q", text)
	}
}

func TestRemoveKillsAfterGrace(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	s := w.spec(w.image(), 0, 1)
	s.Command = []string{"/probe", "stubborn"}
	n := w.launch(d, s)[0]
	answer(t, n.Address, "/")
	start := time.Now()
	if err := d.Remove(t.Context(), n.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < time.Second {
		t.Errorf("killed after %s, before its grace was over", took)
	}
	if nodes, err := d.Nodes(t.Context(), s.Fleet); err != nil || len(nodes) != 0 {
		t.Errorf("left are %v, error %v", nodes, err)
	}
}

// TestCrashBeforeStart leaves containers as a crash between making and starting does.
func TestCrashBeforeStart(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	s := w.spec(w.image(), 0, 2)
	site, err := d.survey(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Nodes {
		p, err := placeOf(site.bridge, site.reach, 0, s.Port, n.Slot)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.create(t.Context(), s, n, site, p); err != nil {
			t.Fatal(err)
		}
	}
	after := w.driver()
	if nodes, err := after.Nodes(t.Context(), s.Fleet); err != nil || len(nodes) != 0 {
		t.Errorf("nodes that never started are listed: %v, error %v", nodes, err)
	}
	if fleets, err := after.Fleets(t.Context()); err != nil || len(fleets) != 1 || fleets[0].Nodes != 2 {
		t.Errorf("fleets are %v, error %v", fleets, err)
	}
	for _, n := range w.launch(after, s) {
		if got := answer(t, n.Address, "/"); got != n.ID.Node || n.PID == 0 {
			t.Errorf("node %+v answers %q", n, got)
		}
	}
}

// TestNetworkAndImageRemoved boots into a network and from an image that somebody removed meanwhile.
func TestNetworkAndImageRemoved(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	s := w.spec(w.image(), 0, 1)
	if _, err := d.survey(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := d.engine.NetworkRemove(t.Context(), d.bridgeName()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.engine.ImageRemove(t.Context(), d.pulledName(s.Image), image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	n := w.launch(d, s)[0]
	if got := answer(t, n.Address, "/"); got != n.ID.Node {
		t.Errorf("answers %q", got)
	}
}

func TestOtherInstallations(t *testing.T) {
	w := newWorld(t)
	mine := w.driver()
	theirs := w.driver(func(o *Options) { o.Installation = w.installation + "-other" })
	s := w.spec(w.image(), 0, 1)
	w.launch(theirs, s)
	_, err := mine.Ensure(t.Context(), s)
	if !fault.Is(err, fault.Exists) || !strings.Contains(err.Error(), s.Nodes[0].Name) {
		t.Errorf("a taken name gives %v, want one of class exists that names the node", err)
	}
	id := fleet.NodeID{Fleet: s.Fleet, Node: s.Nodes[0].Name}
	if err := mine.Remove(t.Context(), id, time.Second); err != nil {
		t.Error(err)
	}
	if err := mine.Destroy(t.Context(), s.Fleet); err != nil {
		t.Error(err)
	}
	if _, err := mine.Logs(t.Context(), id, fleet.LogOptions{}); !errors.Is(err, fleet.ErrNoNode) {
		t.Errorf("their log: %v", err)
	}
	if _, err := mine.Exec(t.Context(), id, fleet.ExecSpec{Command: []string{"/probe", "exit"}}); !errors.Is(err, fleet.ErrNoNode) {
		t.Errorf("a command in their node: %v", err)
	}
	if fleets, err := mine.Fleets(t.Context()); err != nil || len(fleets) != 0 {
		t.Errorf("I find %v, error %v", fleets, err)
	}
	nodes, err := theirs.Nodes(t.Context(), s.Fleet)
	if err != nil || len(nodes) != 1 || nodes[0].Presence != fleet.Present {
		t.Errorf("theirs is %+v, error %v", nodes, err)
	}
}

func TestPartOfAFleetFails(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	s := w.spec(w.image(), 0, 2)
	s.Nodes[1].Slot = 1 << 20
	nodes, err := d.Ensure(t.Context(), s)
	if len(nodes) != 1 || nodes[0].ID.Node != s.Nodes[0].Name {
		t.Errorf("nodes are %+v", nodes)
	}
	if !fault.Is(err, fault.NoSpace) || !strings.Contains(err.Error(), s.Nodes[1].Name) {
		t.Errorf("error is %v", err)
	}
}

// TestPublished is an engine whose network this machine cannot reach.
func TestPublished(t *testing.T) {
	w := newWorld(t)
	d := w.driver(func(o *Options) { o.PublishFrom = 28000 })
	d.reached = &reach{host: "vm", near: true, publish: true, bind: "127.0.0.1", address: "127.0.0.1"}
	s := w.spec(w.image(), 0, 2)
	for i, n := range w.launch(d, s) {
		if n.Address != "127.0.0.1:"+strconv.Itoa(28000+i) || n.Host != "vm" {
			t.Errorf("node is %+v", n)
		}
		if got := answer(t, n.Address, "/"); got != n.ID.Node {
			t.Errorf("%s answers %q", n.Address, got)
		}
	}
}

func TestSubnets(t *testing.T) {
	w := newWorld(t)
	first := w.driver()
	b, err := first.bridge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second := w.driver(func(o *Options) { o.Installation += "-2"; o.Subnet = b.subnet })
	other, err := second.bridge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if other.subnet.Overlaps(b.subnet) {
		t.Errorf("both use %s", b.subnet)
	}
	again, err := w.driver().bridge(t.Context())
	if err != nil || again != b {
		t.Errorf("found %v, made %v, error %v", again, b, err)
	}
}

func TestEngineAway(t *testing.T) {
	w := newWorld(t)
	r := newRelay(t)
	d := w.driver(func(o *Options) { o.Host = r.host })
	s := w.spec(w.image(), 0, 1)
	n := w.launch(d, s)[0]
	r.cut(true)
	check := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, fleet.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
	_, err := d.Ensure(t.Context(), s)
	check("Ensure", err)
	check("Prepare", d.Prepare(t.Context(), s))
	_, err = d.Nodes(t.Context(), s.Fleet)
	check("Nodes", err)
	_, err = d.Fleets(t.Context())
	check("Fleets", err)
	check("Remove", d.Remove(t.Context(), n.ID, time.Second))
	check("Destroy", d.Destroy(t.Context(), s.Fleet))
	check("Available", d.Available(t.Context()))
	check("Available", Available(t.Context(), "unix:///nonexistent/docker.sock"))
	_, err = d.Logs(t.Context(), n.ID, fleet.LogOptions{})
	check("Logs", err)
	_, err = d.Exec(t.Context(), n.ID, fleet.ExecSpec{Command: []string{"/probe"}})
	check("Exec", err)
	r.cut(false)
	if nodes, err := d.Nodes(t.Context(), s.Fleet); err != nil || len(nodes) != 1 || nodes[0].Presence != fleet.Present {
		t.Errorf("afterwards nodes are %v, error %v", nodes, err)
	}
}

// TestEngineHangs is an engine that takes connections and says nothing.
func TestEngineHangs(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "d.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	host := "unix://" + l.Addr().String()
	start := time.Now()
	if err := Available(t.Context(), host); !errors.Is(err, fleet.ErrUnavailable) || time.Since(start) > 5*answerWithin {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
	d, err := New(t.Context(), Options{Installation: "hung", Host: host, Registry: Registry{Address: "127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.Fleets(ctx); !errors.Is(err, fleet.ErrUnavailable) {
		t.Errorf("an unanswered call gives %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, o := range []Options{
		{}, {Installation: "UPPER", Registry: Registry{Address: "127.0.0.1:1"}}, {Installation: "a--b", Registry: Registry{Address: "127.0.0.1:1"}},
		{Installation: strings.Repeat("a", 41), Registry: Registry{Address: "127.0.0.1:1"}}, {Installation: "fine"},
		{Installation: "fine", Registry: Registry{Address: "127.0.0.1:1"}, Host: "nonsense"},
	} {
		if _, err := New(t.Context(), o); !fault.Is(err, fault.Invalid) {
			t.Errorf("New(%+v): %v", o, err)
		}
	}
}

// TestNewOfHosts: nobody gets an engine on the network without TLS, and a bad address is found before it is needed.
func TestNewOfHosts(t *testing.T) {
	t.Setenv("DOCKER_CERT_PATH", "")
	for host, want := range map[string]fault.Code{
		"ssh://box": "", "ssh://ann@box:2222": "", "ssh://ann:secret@box": fault.Invalid, "ssh://box?x=1": fault.Invalid, "ssh://": fault.Invalid,
		"tcp://10.0.0.1:2376": fault.Invalid, "unix:///run/docker.sock": "", "nonsense": fault.Invalid,
	} {
		_, err := New(t.Context(), Options{Installation: "fine", Registry: Registry{Address: "127.0.0.1:1"}, Host: host, Remote: &Remote{}})
		if fault.CodeOf(err) != want {
			t.Errorf("%s: %v, want %q", host, err, want)
		}
	}
}

func TestDestroyAfterRemovingEachNodeTakesTheImage(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	s := w.spec(w.image(), 0, 1)
	n := w.launch(d, s)[0]
	if err := d.Remove(t.Context(), n.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := d.Destroy(t.Context(), s.Fleet); err != nil {
		t.Fatal(err)
	}
	if id, err := d.present(t.Context(), s.Image, nil); id != "" || err != nil {
		t.Errorf("the engine still has the image: %q %v", id, err)
	}
}
