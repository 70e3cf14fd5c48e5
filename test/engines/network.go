package engines

import (
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/test/tools/consultest"
)

// Network is a private network of this machine: a bridge on which this machine has an address, and the engines one each.
type Network struct {
	t         testing.TB
	bridge    string
	subnet    string // its first three bytes
	next      int    // last byte of the next address
	authority *consultest.Authority
	certs     string
	trusted   []string // registries without TLS
}

// NewNetwork makes a network in a range that is kept for the inside of providers (RFC 6598), and hardly in use here. It ends with
// the test.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("engines of their own are run as root")
	}
	for program, pkg := range map[string]string{"ip": "iproute2", "dockerd": "docker.io", "iptables": "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is missing: apt-get install %s", program, pkg)
		}
	}
	n := &Network{t: t, bridge: fmt.Sprintf("eng%06x", rand.IntN(1<<24)), subnet: fmt.Sprintf("100.%d.%d", 64+rand.IntN(64), rand.IntN(256)), next: 2,
		authority: consultest.NewAuthority(t, "ca"), certs: t.TempDir()}
	n.ip("link add %s type bridge", n.bridge)
	t.Cleanup(func() { n.ip("link del %s", n.bridge) })
	n.ip("addr add %s/24 dev %s", n.Gateway(), n.bridge)
	n.ip("link set %s up", n.bridge)
	n.authority.Issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	n.link(n.certs, map[string]string{"ca.pem": "ca.pem", "cert.pem": "client.pem", "key.pem": "client.key"})
	return n
}

// Gateway is this machine's address in the network.
func (n *Network) Gateway() string { return n.subnet + ".1" }

// Certs is a folder with ca.pem, cert.pem and key.pem of a client of all engines, as DOCKER_CERT_PATH has it.
func (n *Network) Certs() string { return n.certs }

// link gives files of the authority other names in a folder.
func (n *Network) link(dir string, names map[string]string) {
	n.t.Helper()
	for name, file := range names {
		if err := os.Symlink(n.authority.File(file), filepath.Join(dir, name)); err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *Network) ip(format string, args ...any) {
	n.t.Helper()
	command := fmt.Sprintf(format, args...)
	if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
		n.t.Errorf("ip %s: %v\n%s", command, err, out)
	}
}

// Start starts engines by name, all at once, and returns when they answer. The names are those of their machines.
func (n *Network) Start(names ...string) []*Engine {
	n.t.Helper()
	list := make([]*Engine, len(names))
	for i, name := range names {
		list[i] = n.engine(name)
	}
	errs := make([]error, len(names))
	var group sync.WaitGroup
	for i, e := range list {
		group.Go(func() { errs[i] = e.begin() })
	}
	group.Wait()
	for i, err := range errs {
		if err != nil {
			n.t.Fatalf("start engine %s: %v", names[i], err)
		}
	}
	return list
}

// engine makes the folders of an engine, and sees to its end.
func (n *Network) engine(name string) *Engine {
	n.t.Helper()
	dir, err := os.MkdirTemp("", "eng-") // short: socket paths are bounded
	if err != nil {
		n.t.Fatal(err)
	}
	e := &Engine{net: n, dir: dir, line: fmt.Sprintf("eng%06x", rand.IntN(1<<24)), Name: name, Address: fmt.Sprintf("%s.%d", n.subnet, n.next)}
	n.next++
	n.t.Cleanup(e.end)
	for _, folder := range []string{"etc", "data", "tls"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o711); err != nil {
			n.t.Fatal(err)
		}
	}
	n.trust(dir)
	n.authority.Issue(name, &x509.Certificate{IPAddresses: []net.IP{net.ParseIP(e.Address)}, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	n.link(filepath.Join(dir, "tls"), map[string]string{"ca.pem": "ca.pem", "cert.pem": name + ".pem", "key.pem": name + ".key"})
	return e
}

// startWithin is how long an engine may take until it answers.
const startWithin = time.Minute
