package swarm

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	dockerswarm "github.com/docker/docker/api/types/swarm"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// engineHost is a host that takes nodes.
func engineHost(id string, labels map[string]string) host {
	n := dockerswarm.Node{ID: id}
	n.Spec.Labels, n.Spec.Availability, n.Spec.Role = labels, dockerswarm.NodeAvailabilityActive, dockerswarm.NodeRoleWorker
	n.Status.State = dockerswarm.NodeStateReady
	return host{Node: n, name: "host-" + id}
}

func TestCrowded(t *testing.T) {
	ours, other := fleet.FleetID{App: "shop"}, fleet.FleetID{App: "mail"}
	on := func(id fleet.FleetID, at string, state dockerswarm.TaskState) task {
		var d task
		d.node.ID.Fleet, d.NodeID, d.Status.State, d.DesiredState = id, at, state, dockerswarm.TaskStateRunning
		return d
	}
	hosts := map[string]host{"a": engineHost("a", nil), "b": engineHost("b", map[string]string{"disk": "ssd"}), "c": engineHost("c", nil)}
	drained := engineHost("d", nil)
	drained.Spec.Availability = dockerswarm.NodeAvailabilityDrain
	hosts["d"] = drained
	running := dockerswarm.TaskStateRunning
	for name, c := range map[string]struct {
		tasks       []task
		constraints []string
		want        []string
	}{
		"none yet":              {nil, nil, nil},
		"one host has one":      {[]task{on(ours, "a", running)}, nil, []string{"a"}},
		"two have one":          {[]task{on(ours, "b", running), on(ours, "a", running)}, nil, []string{"a", "b"}},
		"all have one":          {[]task{on(ours, "a", running), on(ours, "b", running), on(ours, "c", running)}, nil, nil},
		"ended":                 {[]task{on(ours, "a", dockerswarm.TaskStateFailed)}, nil, nil},
		"another fleet's":       {[]task{on(other, "a", running)}, nil, nil},
		"not placed yet":        {[]task{on(ours, "", dockerswarm.TaskStatePending)}, nil, nil},
		"the others do not fit": {[]task{on(ours, "b", running)}, []string{"node.labels.disk == ssd"}, nil},
		"one other fits":        {[]task{on(ours, "a", running)}, []string{"node.labels.disk!=ssd"}, []string{"a"}},
		"not known here":        {[]task{on(ours, "a", running)}, []string{"node.ip==10.0.0.0/8"}, []string{"a"}},
	} {
		if got := crowded(hosts, c.tasks, ours, c.constraints); !slices.Equal(got, c.want) {
			t.Errorf("%s: keeps off %q, want %q", name, got, c.want)
		}
	}
}

func TestSatisfies(t *testing.T) {
	h := engineHost("x", map[string]string{"zone": "a"})
	h.Description.Engine.Labels = map[string]string{"gpu": "yes"}
	for constraint, want := range map[string]bool{
		"node.id==x": true, "node.id!=x": false, "node.hostname == host-x": true, "node.role==manager": false, "node.role != manager": true,
		"node.labels.zone==a": true, "node.labels.zone==b": false, "node.labels.none!=b": true, "engine.labels.gpu==yes": true, "node.platform.arch==none": true,
	} {
		if got := h.satisfies([]string{constraint}); got != want {
			t.Errorf("%s: %v, want %v", constraint, got, want)
		}
	}
}

// A service that waits for a host and is kept off some is what an agent left that ended in the middle.
func TestKeptOff(t *testing.T) {
	spec := fleet.Spec{Cluster: fleet.Cluster{Constraints: []string{"node.role==worker"}}}
	at := func(host string, state dockerswarm.TaskState) []task {
		var x task
		x.ServiceID, x.NodeID, x.Status.State = "s", host, state
		return []task{x}
	}
	for name, c := range map[string]struct {
		avoid []string
		tasks []task
		want  bool
	}{
		"waits":                {[]string{"a"}, at("", dockerswarm.TaskStatePending), true},
		"waits as all may":     {nil, at("", dockerswarm.TaskStatePending), false},
		"has a host":           {[]string{"a"}, at("b", dockerswarm.TaskStateRunning), false},
		"ended before":         {[]string{"a"}, at("", dockerswarm.TaskStateRejected), false},
		"the task is not made": {[]string{"a"}, nil, false},
	} {
		s := dockerswarm.Service{ID: "s"}
		s.Spec.TaskTemplate.Placement = placement(spec.Cluster, c.avoid)
		if got := keptOff(s, c.tasks, spec); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Ensure is done when each node was seen or has failed, not when none is listed yet.
func TestProgress(t *testing.T) {
	spec := fleet.Spec{Nodes: []fleet.NodeSpec{{Name: "n1"}, {Name: "n2"}, {Name: "n3"}, {Name: "n4"}, {Name: "n5"}}}
	at := func(name string, state dockerswarm.TaskState, err string) (x task) {
		x.node.ID.Node, x.Status.State, x.Status.Err = name, state, err
		return x
	}
	listed := []task{at("n1", dockerswarm.TaskStateRunning, ""), at("n2", dockerswarm.TaskStatePending, noHost+" (1 node full)"), at("n3", dockerswarm.TaskStatePreparing, ""),
		at("other", dockerswarm.TaskStateRunning, "")}
	p := progressOf(listed, spec, map[string]error{"n4": fault.New(fault.NoSpace, "no")})
	if len(p.nodes) != 1 || p.nodes[0].ID.Node != "n1" || len(p.homeless) != 1 || !p.waits || !slices.Equal(p.unseen, []string{"n5"}) {
		t.Errorf("found %+v", p)
	}
}

// What the Swarm says of a task and its host is what is said of the node.
func TestObserve(t *testing.T) {
	d := &Driver{opts: Options{PublishFrom: 20000}}
	ready := engineHost("a", nil)
	ready.address = "10.0.0.1"
	down, unsure := ready, ready
	down.Status.State, unsure.Status.State = dockerswarm.NodeStateDown, dockerswarm.NodeStateUnknown
	givenUp := down
	givenUp.givenUp = true
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(state, desired dockerswarm.TaskState, code int, err string) *task {
		var x task
		x.NodeID, x.node.Slot = "a", 7
		x.Spec.ContainerSpec = &dockerswarm.ContainerSpec{Labels: map[string]string{dockerapi.LabelPort: "8080"}}
		x.Status = dockerswarm.TaskStatus{State: state, Timestamp: started, Err: err, ContainerStatus: &dockerswarm.ContainerStatus{PID: 5, ExitCode: code}}
		x.DesiredState = desired
		return &x
	}
	const run, stop = dockerswarm.TaskStateRunning, dockerswarm.TaskStateShutdown
	for name, c := range map[string]struct {
		task     *task
		host     host
		presence fleet.Presence
		code     int
		signal   string
		reason   string
	}{
		"running":                 {at(run, run, 0, ""), ready, fleet.Present, 0, "", ""},
		"starting":                {at(dockerswarm.TaskStatePreparing, run, 0, ""), ready, fleet.Unknown, 0, "", ""},
		"its host is unsure":      {at(run, run, 0, ""), unsure, fleet.Unknown, 0, "", ""},
		"its host just went down": {at(run, run, 0, ""), down, fleet.Unknown, 0, "", ""},
		"its host is down":        {at(run, stop, 0, ""), down, fleet.Unknown, 0, "", ""},
		"its host is cut off":     {at(run, stop, 0, ""), unsure, fleet.Unknown, 0, "", ""},
		"given up with its host":  {at(run, stop, 0, ""), givenUp, fleet.Gone, 0, "", "its host host-a is down, says the Swarm"},
		"failed before that":      {at(dockerswarm.TaskStateFailed, stop, 3, ""), down, fleet.Gone, 3, "", ""},
		"ended by the Swarm":      {at(run, stop, 0, ""), ready, fleet.Gone, 0, "", "the Swarm ends it"},
		"ended well":              {at(dockerswarm.TaskStateComplete, run, 0, ""), ready, fleet.Gone, 0, "", ""},
		"failed":                  {at(dockerswarm.TaskStateFailed, stop, 3, "task: non-zero exit (3)"), ready, fleet.Gone, 3, "", ""},
		"killed":                  {at(dockerswarm.TaskStateFailed, stop, 137, "task: non-zero exit (137)"), ready, fleet.Gone, 137, "KILL", ""},
		"rejected":                {at(dockerswarm.TaskStateRejected, stop, 0, "No such image"), ready, fleet.Gone, 0, "", "could not start: No such image"},
	} {
		d.observe(c.task, map[string]host{"a": c.host})
		n := c.task.node
		if n.Presence != c.presence || n.Host != "host-a" || n.Address != "10.0.0.1:20007" || (n.Exit != nil) != (c.presence == fleet.Gone) {
			t.Errorf("%s: %+v", name, n)
			continue
		}
		if e := n.Exit; e != nil && (e.Code != c.code || e.Signal != c.signal || e.Reason != c.reason) {
			t.Errorf("%s: exit %+v", name, e)
		}
	}
}

// A host is given up when it has been down for as long as the options say, by this driver's clock, and not when it was down before.
func TestHostIsGivenUp(t *testing.T) {
	state := dockerswarm.NodeStateReady
	d := asking(t, fakeManager(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `[{"ID":"a","Status":{"State":%q}}]`, state)
	}))
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d.opts.Lost, d.now = time.Minute, func() time.Time { return now }
	for _, step := range []struct {
		state dockerswarm.NodeState
		later time.Duration
		want  bool
	}{
		{dockerswarm.NodeStateReady, 0, false}, {dockerswarm.NodeStateDown, time.Hour, false}, {dockerswarm.NodeStateDown, 59 * time.Second, false},
		{dockerswarm.NodeStateReady, 0, false}, {dockerswarm.NodeStateDown, 2 * time.Second, false}, {dockerswarm.NodeStateDown, time.Minute, true},
	} {
		state, now = step.state, now.Add(step.later)
		hosts, err := d.hosts(t.Context())
		if err != nil || hosts["a"].givenUp != step.want {
			t.Errorf("%s, %s later: given up %v, error %v", step.state, step.later, hosts["a"].givenUp, err)
		}
	}
}

// A service without a task is a node that ended when it has been seen so for long, whatever the managers' clock says.
func TestForgotten(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	id := fleet.FleetID{App: "shop", Env: "test", Role: "web", Release: "r1", Incarnation: 1}
	d := asking(t, fakeManager(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/services") {
			fmt.Fprint(w, `[]`)
			return
		}
		long := now.Add(-24 * time.Hour).Format(time.RFC3339)
		fmt.Fprintf(w, `[{"ID":"1","CreatedAt":%q,"Spec":{"Name":"n1","Labels":{"release.fleet":%q,"release.node":"n1","release.slot":"4"}}},{"ID":"2","CreatedAt":%[1]q,"Spec":{"Name":"bad"}}]`, long, id)
	}))
	d.now = func() time.Time { return now }
	for _, step := range []struct {
		later time.Duration
		want  int
	}{{0, 0}, {vanished, 0}, {time.Second, 1}} {
		now = now.Add(step.later)
		nodes, err := d.Nodes(t.Context(), id)
		if err != nil || len(nodes) != step.want || len(nodes) > 0 && (nodes[0].ID.Node != "n1" || nodes[0].Presence != fleet.Gone) {
			t.Errorf("%s later: %+v, %v", step.later, nodes, err)
		}
	}
}

// What cannot be known after it ended is not begun.
func TestJobsNeedHistory(t *testing.T) {
	for limit, refused := range map[string]bool{"0": true, "5": false, "-1": false, "null": false} {
		d := asking(t, fakeManager(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"Swarm":{"LocalNodeState":"active","ControlAvailable":true,"Cluster":{"ID":"c","Spec":{"Orchestration":{"TaskHistoryRetentionLimit":%s}}}}}`, limit)
		}))
		if err := d.remembers(t.Context(), fleet.Spec{Kind: fleet.Once}); fault.Is(err, fault.Unsupported) != refused || !refused && err != nil {
			t.Errorf("a job, limit %s: %v", limit, err)
		}
		if err := d.remembers(t.Context(), fleet.Spec{Kind: fleet.Serve}); err != nil {
			t.Errorf("a node that serves, limit %s: %v", limit, err)
		}
	}
}

func TestAddress(t *testing.T) {
	d := &Driver{opts: Options{PublishFrom: 20000}}
	var x task
	x.node.Slot = 3
	x.Spec.ContainerSpec = &dockerswarm.ContainerSpec{Labels: map[string]string{dockerapi.LabelPort: "8080", labelNetwork: "back"}}
	h := host{address: "10.0.0.1"}
	if got := d.address(&x, h); got != "" {
		t.Errorf("before it has an address in the network: %s", got)
	}
	x.NetworksAttachments = []dockerswarm.NetworkAttachment{{Addresses: []string{"10.9.0.4/24"}}, {Addresses: []string{"10.8.0.4/24"}}}
	x.NetworksAttachments[1].Network.Spec.Name = "back"
	if got := d.address(&x, h); got != "10.8.0.4:8080" {
		t.Errorf("in the network: %s", got)
	}
	n := dockerswarm.Node{ManagerStatus: &dockerswarm.ManagerStatus{Addr: "192.0.2.7:2377"}}
	n.Status.Addr = "0.0.0.0"
	if got := addressOf(n); got != "192.0.2.7" {
		t.Errorf("a manager is at %q", got)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Setenv("DOCKER_CERT_PATH", "")
	store, err := images.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	fine := Options{Installation: "fine", Images: store, Repository: "registry.example/x"}
	if _, err := New(fine); err != nil {
		t.Errorf("fine options: %v", err)
	}
	for name, change := range map[string]func(*Options){
		"no installation": func(o *Options) { o.Installation = "" }, "a bad one": func(o *Options) { o.Installation = "A b" },
		"no images": func(o *Options) { o.Images = nil }, "nowhere to pull from": func(o *Options) { o.Repository = "" },
		"a manager without TLS": func(o *Options) { o.Managers = []string{"tcp://10.0.0.1:2376"} }, "no address": func(o *Options) { o.Managers = []string{"nonsense"} },
	} {
		o := fine
		change(&o)
		if _, err := New(o); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
