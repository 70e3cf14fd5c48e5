package docker

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/system"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

func TestAddressOfSlot(t *testing.T) {
	b := bridge{name: "n", subnet: netip.MustParsePrefix("10.1.0.0/23")}
	for slot, want := range map[int]string{0: "10.1.0.2", 253: "10.1.0.255", 254: "10.1.1.0", 508: "10.1.1.254", 509: "", -1: ""} {
		got, err := b.address(slot)
		if want == "" && !fault.Is(err, fault.NoSpace) || want != "" && got.String() != want {
			t.Errorf("slot %d is %s, error %v; want %q", slot, got, err, want)
		}
	}
}

func TestPlace(t *testing.T) {
	b := bridge{name: "n", subnet: netip.MustParsePrefix("10.1.0.0/24")}
	far := reach{publish: true, address: "192.0.2.7"}
	for _, c := range []struct {
		r             reach
		port, slot    int
		address, bind string
		published     int
	}{
		{reach{}, 8080, 3, "10.1.0.5:8080", "", 0},
		{reach{}, 0, 3, "", "", 0},
		{far, 8080, 3, "192.0.2.7:20003", "", 20003},
		{far, 0, 3, "", "", 0},
		{reach{publish: true, bind: "127.0.0.1", address: "127.0.0.1"}, 80, 0, "127.0.0.1:20000", "127.0.0.1", 20000},
	} {
		p, err := placeOf(b, c.r, 20000, c.port, c.slot)
		if err != nil || p.address != c.address || p.published != c.published || p.bind != c.bind {
			t.Errorf("%+v: place is %+v, error %v", c, p, err)
		}
	}
	if _, err := placeOf(b, far, 65500, 80, 100); !fault.Is(err, fault.NoSpace) {
		t.Errorf("a port beyond the last gives %v", err)
	}
}

func TestReachOf(t *testing.T) {
	containerd := system.Info{Name: "h", DriverStatus: [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}}
	for _, c := range []struct {
		daemon string
		remote *Remote
		info   system.Info
		want   reach
	}{
		{"unix:///var/run/docker.sock", nil, system.Info{Name: "h"}, reach{host: "h", near: true}},
		{"tcp://127.0.0.1:2375", nil, containerd, reach{host: "h", near: true, containerd: true}},
		{"tcp://192.0.2.7:2376", nil, system.Info{Name: "far"}, reach{host: "far", publish: true, address: "192.0.2.7"}},
		{"unix:///d.sock", nil, system.Info{Name: "vm", OperatingSystem: "Docker Desktop"}, reach{host: "vm", near: true, publish: true, bind: "127.0.0.1", address: "127.0.0.1"}},
		{"unix:///d.sock", nil, system.Info{Name: "h", SecurityOptions: []string{"name=seccomp,profile=default", "name=rootless"}}, reach{host: "h", near: true, publish: true, bind: "127.0.0.1", address: "127.0.0.1"}},
		{"ssh://ops@192.0.2.7", &Remote{}, system.Info{Name: "far"}, reach{host: "far", publish: true, address: "192.0.2.7"}},
		{"ssh://ops@192.0.2.7", &Remote{Address: "198.51.100.9"}, system.Info{Name: "far"}, reach{host: "far", publish: true, address: "198.51.100.9"}},
		{"unix:///d.sock", &Remote{Address: "198.51.100.9"}, system.Info{Name: "h"}, reach{host: "h", near: true, publish: true, address: "198.51.100.9"}},
	} {
		if got, err := reachOf(t.Context(), c.daemon, c.remote, c.info); err != nil || got != c.want {
			t.Errorf("%s is %+v, error %v; want %+v", c.daemon, got, err, c.want)
		}
	}
}

func TestCandidates(t *testing.T) {
	wanted := netip.MustParsePrefix("10.9.1.7/24")
	list := candidates("abc", wanted)
	if list[0] != wanted.Masked() {
		t.Errorf("first is %s", list[0])
	}
	all := netip.MustParsePrefix("10.128.0.0/9")
	for i, p := range list[1:] {
		if !all.Contains(p.Addr()) || p != p.Masked() || slices.Contains(list[:i+1], p) {
			t.Errorf("candidate %s is outside, unaligned or there twice", p)
		}
	}
	if len(list) != 513 || candidates("abd", wanted)[1] == list[1] {
		t.Errorf("%d candidates, beginning with %s", len(list), list[1])
	}
	for _, no := range []string{"10.0.0.0/30", "fd00::/64"} {
		if got := candidates("abc", netip.MustParsePrefix(no)); len(got) != 512 {
			t.Errorf("%s is taken as a candidate", no)
		}
	}
}

func TestParseRoutes(t *testing.T) {
	table := "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" +
		"tun0\t0000800A\t00000000\t0001\t0\t0\t0\t000080FF\t0\t0\t0\nrubbish\n"
	got := parseRoutes([]byte(table))
	want := []netip.Prefix{netip.MustParsePrefix("192.168.2.0/24"), netip.MustParsePrefix("10.128.0.0/9")}
	if !slices.Equal(got, want) {
		t.Errorf("routes are %v, want %v", got, want)
	}
}

func TestDescribe(t *testing.T) {
	s := fleet.Spec{
		Fleet: fleet.FleetID{App: "shop", Env: "prod", Role: "web", Release: "r8", Incarnation: 2}, Kind: fleet.Serve, Image: "sha256:aa",
		Command: []string{"/app", "-v"}, Env: map[string]string{"B": "env", "A": "env", "PORT": "1"}, Secrets: map[string]string{"B": "secret"},
		Port: 8080, Resources: fleet.Resources{CPUs: 0.25, Memory: 1 << 28}, Stop: fleet.Stop{Signal: "QUIT", Grace: 1500 * time.Millisecond},
	}
	p := place{network: "net", ip: netip.MustParseAddr("10.0.0.4"), published: 20002, bind: "127.0.0.1", address: "127.0.0.1:20002"}
	w := describe("inst", "sha256:id", s, fleet.NodeSpec{Name: "shop-r8-x", Slot: 2}, p)
	if got, want := w.config.Env, []string{"A=env", "B=secret", "PORT=8080"}; !slices.Equal(got, want) {
		t.Errorf("environment is %v", got)
	}
	if w.config.StopSignal != "SIGQUIT" || *w.config.StopTimeout != 2 || !slices.Equal(w.config.Entrypoint, s.Command) || w.config.Image != "sha256:id" {
		t.Errorf("config is %+v", w.config)
	}
	if w.host.NanoCPUs != 250_000_000 || w.host.Memory != 1<<28 || w.host.MemorySwap != 1<<28 || *w.host.PidsLimit == 0 || !*w.host.Init {
		t.Errorf("host config is %+v", w.host)
	}
	if b := w.host.PortBindings["8080/tcp"]; len(b) != 1 || b[0].HostPort != "20002" || b[0].HostIP != "127.0.0.1" {
		t.Errorf("published is %v", w.host.PortBindings)
	}
	if got := w.network.EndpointsConfig["net"].IPAMConfig.IPv4Address; got != "10.0.0.4" {
		t.Errorf("address is %s", got)
	}
	want := map[string]string{
		"release.installation": "inst", "release.fleet": "shop/prod/web/r8/2", "release.node": "shop-r8-x", "release.slot": "2",
		"release.image": "sha256:aa", "release.kind": "serve", "release.port": "8080", "release.address": "127.0.0.1:20002",
		"release.stop-grace": "1.5s", "release.spec": "1",
	}
	if fmt.Sprint(w.config.Labels) != fmt.Sprint(want) {
		t.Errorf("labels are %v", w.config.Labels)
	}
}

func TestExitOf(t *testing.T) {
	at := "2026-01-02T03:04:05.678Z"
	for _, c := range []struct {
		state  container.State
		signal string
		reason string
	}{
		{container.State{ExitCode: 1, FinishedAt: at}, "", ""},
		{container.State{ExitCode: 143, FinishedAt: at}, "TERM", ""},
		{container.State{ExitCode: 137, OOMKilled: true, FinishedAt: at}, "KILL", "out of memory"},
		{container.State{ExitCode: 0, OOMKilled: true, FinishedAt: at}, "", ""},
		{container.State{ExitCode: 127, Error: "no such file", FinishedAt: at}, "", "could not start: no such file"},
		{container.State{ExitCode: 126, FinishedAt: at}, "", "exit code 126: as a rule /app, or a program it runs, may not be executed; see the log"},
		{container.State{ExitCode: 255, FinishedAt: at}, "", ""},
	} {
		e := exitOf(&c.state, "/app", 0)
		if e.Code != c.state.ExitCode || e.Signal != c.signal || e.Reason != c.reason || e.At.IsZero() {
			t.Errorf("%+v ends as %+v", c.state, e)
		}
	}
	if e := exitOf(&container.State{ExitCode: 137, FinishedAt: at}, "/app", 32<<20); e.Reason != "killed by somebody, or out of memory: it may have 33.6 MB" {
		t.Errorf("killed with a limit: %q", e.Reason)
	}
	if e := exitOf(&container.State{FinishedAt: "0001-01-01T00:00:00Z"}, "", 0); !e.At.IsZero() {
		t.Errorf("a time that was not is %s", e.At)
	}
}

func TestMessages(t *testing.T) {
	for in, want := range map[string]string{
		`{"status":"Pulling"}` + "\n" + `{"status":"done"}`:              "",
		`{"status":"x"}{"error":"a","errorDetail":{"message":"detail"}}`: "detail",
		`{"error":"a"}`: "a",
		`{"status":`:    "progress",
	} {
		err := messages(strings.NewReader(in), nil)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %q", in, err, want)
		}
	}
}

// What the engine says of a pull becomes one number, which never goes back; what is foreign or odd changes nothing.
func TestCarriage(t *testing.T) {
	one, two := digest.FromString("one"), digest.FromString("two")
	m := &ocispec.Manifest{Layers: []ocispec.Descriptor{{Digest: one, Size: 100}, {Digest: two, Size: 50}, {Digest: one, Size: 100}}}
	var seen []fleet.Progress
	c := carrying(m, func(p fleet.Progress) { seen = append(seen, p) })
	c.begin("pulling")
	line := func(layer digest.Digest, status string, current int64, units string) string {
		return fmt.Sprintf(`{"id":%q,"status":%q,"progressDetail":{"current":%d,"units":%q}}`+"\n", layer.Encoded()[:12], status, current, units)
	}
	stream := line(one, "Pulling fs layer", 0, "") + line(one, "Downloading", 40, "") + line(two, "Already exists", 0, "") +
		line(one, "Downloading", 30, "") + line(digest.FromString("other"), "Downloading", 7, "") + line(one, "Download complete", 0, "") +
		line(one, "Extracting", 3, "s") + line(one, "Extracting", 999, "")
	if err := messages(strings.NewReader(stream), c); err != nil {
		t.Fatal(err)
	}
	c.arrived()
	var done []int64
	for _, p := range seen {
		if p.Doing != "pulling" || p.Total != 300 {
			t.Errorf("it says %+v", p)
		}
		done = append(done, p.Done)
	}
	if want := []int64{0, 40, 140, 200, 300, 300}; !slices.Equal(done, want) {
		t.Errorf("it is at %v, want %v", done, want)
	}
}

func TestCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := make(chan fleet.FleetID), make(chan fleet.FleetID)
		go coalesce(t.Context(), in, out)
		a, b := fleet.FleetID{App: "a"}, fleet.FleetID{App: "b"}
		for range 100 { // nobody reads: the sender must not wait
			in <- a
			in <- b
		}
		if x, y := <-out, <-out; x != a || y != b {
			t.Errorf("got %v and %v", x, y)
		}
		synctest.Wait()
		select {
		case id := <-out:
			t.Errorf("%v came twice", id)
		default:
		}
		in <- a
		if x := <-out; x != a {
			t.Errorf("got %v", x)
		}
		close(in)
		if _, open := <-out; open {
			t.Error("it stays open")
		}
	})
}
