package agents

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// network is a private network of this machine: a bridge with addresses of this machine's own, and machines beside it.
type network struct {
	t      *testing.T
	bridge string
	subnet string // its first three bytes
	next   int    // last byte of the next address
}

// newNetwork makes a network in a subnet that is kept for the inside of providers (RFC 6598), and hardly in use here.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("networks of their own for machines are made as root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Fatal("ip is missing: apt-get install iproute2")
	}
	n := &network{t: t, bridge: fmt.Sprintf("rel%06x", rand.IntN(1<<24)), subnet: fmt.Sprintf("100.%d.%d", 64+rand.IntN(64), rand.IntN(256)), next: 1}
	n.ip("link add %s type bridge", n.bridge)
	t.Cleanup(func() { n.ip("link del %s", n.bridge) })
	n.ip("link set %s up", n.bridge)
	return n
}

func (n *network) ip(format string, args ...any) {
	n.t.Helper()
	command := fmt.Sprintf(format, args...)
	if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v\n%s", command, err, out)
	}
}

func (n *network) address() string {
	n.next++
	return fmt.Sprintf("%s.%d", n.subnet, n.next-1)
}

// host gives this machine one more address in the network.
func (n *network) host() string {
	n.t.Helper()
	a := n.address()
	n.ip("addr add %s/24 dev %s", a, n.bridge)
	return a
}

// machine is a network of its own, which ends with the test, with a line to the private one.
type machine struct {
	*network
	name    string // of the namespace, and the beginning of its lines' names
	Address string // in the private network
	lines   int
}

func (n *network) machine() *machine {
	n.t.Helper()
	m := &machine{network: n, name: fmt.Sprintf("rel%06x", rand.IntN(1<<24)), Address: n.address()}
	n.ip("netns add %s", m.name)
	n.t.Cleanup(func() { n.ip("netns del %s", m.name) })
	n.ip("-n %s link set lo up", m.name)
	m.line(n.bridge, m.Address+"/24")
	return m
}

// line connects the machine to a bridge, at an address with its network's length.
func (m *machine) line(bridge, address string) {
	m.t.Helper()
	name := fmt.Sprintf("%s-%d", m.name, m.lines)
	inside := fmt.Sprintf("eth%d", m.lines)
	m.lines++
	m.ip("link add %s type veth peer name %s netns %s", name, inside, m.name)
	m.t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() }) // gone with the namespace, which ends late
	m.ip("link set %s master %s up", name, bridge)
	m.ip("-n %s addr add %s dev %s", m.name, address, inside)
	m.ip("-n %s link set %s up", m.name, inside)
}

// partition cuts the line to the private network, without a word to either side; or ends that.
func (m *machine) partition(cut bool) {
	m.t.Helper()
	state := "up"
	if cut {
		state = "down"
	}
	m.ip("link set %s-0 %s", m.name, state)
}

// enter is the beginning of a command that runs on the machine.
func (m *machine) enter() []string { return []string{"ip", "netns", "exec", m.name} }
