package machines

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/images"
)

const systemdRecipe = `name: testnode
base: {debian: bookworm}
packages: [systemd, udev, dbus]
ports: [8080]
copy: [{from: ./testnode, to: /testnode}]
services: {web: {cmd: [/testnode]}}
`

// TestSystemd runs a node and a job whose machines systemd starts: output, commands, the end of a job and an orderly stop are as with any
// other node.
func TestSystemd(t *testing.T) {
	in := suite.New(t, "sandbox")
	image := bakeTestnode(t, in, systemdRecipe)
	store, err := images.Open(imagesDir(in))
	if err != nil {
		t.Fatal(err)
	}
	d := newDrivers(t, store, t.TempDir())(t, "one", nil)
	serve := fleet.Spec{Fleet: fleet.FleetID{App: "machine", Env: "test", Role: "web", Release: "r1", Incarnation: 1}, Installation: "one",
		Kind: fleet.Serve, Image: image, Port: 8080, Env: map[string]string{"GREETING": `a "b" $c`}, Nodes: []fleet.NodeSpec{{Name: "machine-r1-n1", Slot: 1}}}
	once := serve
	once.Fleet.Role, once.Kind, once.Port, once.Command = "job", fleet.Once, 0, []string{"/testnode", "exit", "7"}
	once.Nodes = []fleet.NodeSpec{{Name: "machine-r1-job", Slot: 2}}
	for _, spec := range []fleet.Spec{serve, once} {
		if _, err := d.Ensure(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Destroy(t.Context(), spec.Fleet) })
	}
	node := theNode(t, d, serve.Fleet)
	until(t, "the machine to answer", func() bool {
		res, err := http.Get("http://" + node.Address + "/env?name=GREETING")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return string(text) == serve.Env["GREETING"]
	})
	until(t, "what the service says to be in the log", func() bool { return strings.Contains(logOf(t, d, node.ID), " out listening on 8080\n") })
	for command, want := range map[string]string{
		"echo $GREETING $PORT":                         "a \"b\" $c 8080\n",
		"grep nameserver /etc/resolv.conf":             "nameserver 10.0.2.3\n",
		"systemctl is-failed --quiet '*' || echo none": "none\n",
	} {
		var out, problems bytes.Buffer
		code, err := d.(fleet.Execer).Exec(t.Context(), node.ID, fleet.ExecSpec{Command: []string{"/bin/sh", "-c", command}, Stdout: &out, Stderr: &problems})
		if err != nil || code != 0 || out.String() != want {
			t.Errorf("%s: %d %v %q %q", command, code, err, out.String(), problems.String())
		}
	}
	stopped(t, d, node.ID)
	until(t, "the job's end", func() bool { return theNode(t, d, once.Fleet).Exit != nil })
	if exit := theNode(t, d, once.Fleet).Exit; exit.Code != 7 {
		t.Errorf("the job ended with %+v", exit)
	}
	if text := logOf(t, d, theNode(t, d, once.Fleet).ID); strings.Contains(text, "listening") {
		t.Errorf("the job's machine ran the service too: %s", text)
	}
}

// stopped removes a node that is to say goodbye.
func stopped(t *testing.T, d fleet.Driver, id fleet.NodeID) {
	lines, err := d.(fleet.Logger).Logs(t.Context(), id, fleet.LogOptions{Follow: true, Since: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()
	said := make(chan string, 1)
	go func() { text, _ := io.ReadAll(lines); said <- string(text) }()
	if err := d.Remove(t.Context(), id, patience); err != nil {
		t.Error(err)
	}
	if text := <-said; !strings.Contains(text, "stopping") {
		t.Errorf("the service was not asked to end: %q", text)
	}
}

func theNode(t *testing.T, d fleet.Driver, id fleet.FleetID) fleet.Node {
	t.Helper()
	nodes, err := d.Nodes(t.Context(), id)
	if err != nil || len(nodes) != 1 {
		t.Fatalf("nodes of %s: %v %v", id, nodes, err)
	}
	return nodes[0]
}

func logOf(t *testing.T, d fleet.Driver, id fleet.NodeID) string {
	t.Helper()
	lines, err := d.(fleet.Logger).Logs(t.Context(), id, fleet.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()
	text, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain for " + what)
		}
	}
}
