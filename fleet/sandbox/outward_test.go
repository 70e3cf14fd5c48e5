package sandbox

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/bootandshoot/release/fleet"
)

// elsewhere is a server in a network of its own that knows no way back but to the machine. It answers with the
// address that it sees.
func elsewhere(t *testing.T) (address string) {
	t.Helper()
	type result struct {
		ns  netns.NsHandle
		l   net.Listener
		err error
	}
	made := make(chan result)
	linked := make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := netns.New()
		made <- result{ns: ns, err: err}
		<-linked
		l, err := net.Listen("tcp", "198.18.7.2:80")
		made <- result{l: l, err: err}
	}()
	r := <-made
	check(t, r.err)
	t.Cleanup(func() { _ = r.ns.Close() })
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "reltest0"
	link := &netlink.Veth{LinkAttrs: attrs, PeerName: "reltest1", PeerNamespace: netlink.NsFd(r.ns)}
	check(t, netlink.LinkAdd(link))
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	raise(t, &netlink.Handle{}, "reltest0", "198.18.7.1/30")
	inside, err := netlink.NewHandleAt(r.ns)
	check(t, err)
	defer inside.Close()
	raise(t, inside, "reltest1", "198.18.7.2/30")
	close(linked)
	r = <-made
	check(t, r.err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprint(w, host)
	})}
	go func() { _ = srv.Serve(r.l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return "198.18.7.2"
}

func raise(t *testing.T, h *netlink.Handle, name, address string) {
	t.Helper()
	link, err := h.LinkByName(name)
	check(t, err)
	addr, err := netlink.ParseAddr(address)
	check(t, err)
	check(t, h.AddrAdd(link, addr))
	check(t, h.LinkSetUp(link))
}

func fetch(t *testing.T, n fleet.Node, target string) string {
	t.Helper()
	resp, err := http.Get("http://" + n.Address + "/fetch?url=" + url.QueryEscape(target))
	check(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(t, err)
	return string(body)
}

// Nodes reach the world under the machine's address, past Docker's firewall too, and each other under their own.
func TestNodesReachTheWorldAndEachOther(t *testing.T) {
	requireRoot(t)
	w := newWorld(t, Options{})
	d := w.driver(t, "")
	spec := w.spec(t, d, 2, 0)
	nodes, err := d.Ensure(t.Context(), spec)
	check(t, err)
	for _, n := range nodes {
		eventually(t, "it answers", func() bool { return asked(n) })
	}
	own := d.network.(*ownNetwork)
	if got := netip.MustParseAddrPort(nodes[0].Address); !own.subnet.Contains(got.Addr()) || got.Port() != 8080 {
		t.Errorf("address %s, subnet %s", got, own.subnet)
	}
	if got := fetch(t, nodes[0], "http://"+elsewhere(t)); got != "198.18.7.1" {
		t.Errorf("elsewhere sees %q, want the machine's address 198.18.7.1", got)
	}
	if got := fetch(t, nodes[0], "http://"+nodes[1].Address); !strings.HasPrefix(got, "hello") {
		t.Errorf("another node answers %q", got)
	}
	again, err := newOwnNetwork(d.opts)
	check(t, err)
	if again.subnet != own.subnet {
		t.Errorf("the subnet was %s, is %s", own.subnet, again.subnet)
	}
}

// A node at an address that another one had a moment ago is reached at once, whatever the machine remembers of the
// other one.
func TestAddressUsedAgainAtOnce(t *testing.T) {
	requireRoot(t)
	w := newWorld(t, Options{})
	d := w.driver(t, "")
	_, err := d.Ensure(t.Context(), w.spec(t, d, 1, 1)) // keeps the network up
	check(t, err)
	var before net.HardwareAddr
	for i := range 2 {
		spec := w.spec(t, d, 1, 0)
		spec.Nodes[0].Name = fmt.Sprintf("app-again-n%d", i)
		nodes, err := d.Ensure(t.Context(), spec)
		check(t, err)
		eventually(t, "it answers", func() bool { return asked(nodes[0]) })
		now := neighbour(t, nodes[0])
		if i > 0 && now.String() != before.String() {
			t.Errorf("the address moved from %s to %s", before, now)
		}
		before = now
		check(t, d.Destroy(t.Context(), spec.Fleet))
	}
}

// neighbour is what the machine remembers as the hardware address of a node.
func neighbour(t *testing.T, n fleet.Node) net.HardwareAddr {
	t.Helper()
	address := net.IP(netip.MustParseAddrPort(n.Address).Addr().AsSlice())
	list, err := netlink.NeighList(0, netlink.FAMILY_V4)
	check(t, err)
	for _, n := range list {
		if n.IP.Equal(address) {
			return n.HardwareAddr
		}
	}
	t.Fatalf("the machine remembers nothing of %s", address)
	return nil
}
