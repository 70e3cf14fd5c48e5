package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sandbox"
)

// ownNetwork gives each node a network namespace with an address on our bridge: the subnet's second address plus the
// node's slot. The bridge itself has the first, and packets to elsewhere leave under the machine's own address.
type ownNetwork struct {
	tag    string // of the installation, in every name
	owner  string // the installation
	file   string // network.json
	log    *slog.Logger
	mu     sync.Mutex
	ready  bool // bridge and rules were made or checked by this process
	subnet netip.Prefix
}

func newOwnNetwork(opts Options) (*ownNetwork, error) {
	n := &ownNetwork{tag: shortHash(opts.Installation), owner: opts.Installation, log: opts.Log,
		file: filepath.Join(opts.Dir, "network-"+shortHash(opts.Installation)+".json"), subnet: opts.Subnet.Masked()}
	if opts.Subnet.IsValid() {
		if !opts.Subnet.Addr().Is4() || opts.Subnet.Bits() > 28 {
			return nil, fault.New(fault.Invalid, "subnet %s of nodes is not IPv4 with at least 16 addresses", opts.Subnet)
		}
		return n, nil
	}
	return n, n.chooseSubnet()
}

func (n *ownNetwork) mode() sandbox.Network { return sandbox.OwnNetwork }

func (n *ownNetwork) bridgeName() string { return "rel-" + n.tag }

// linkName is the machine's end of a node's link; at most 15 characters.
func (n *ownNetwork) linkName(slot int) string {
	return "rv" + n.tag + strconv.FormatInt(int64(slot), 36)
}

// chosen is the content of network.json.
type chosen struct {
	Schema int          `json:"schema"`
	Subnet netip.Prefix `json:"subnet"`
}

// chooseSubnet takes the one kept from before, else a free /16 of 10.0.0.0/8. Where the search begins depends on the
// installation, so that two of them rarely look at the same one.
func (n *ownNetwork) chooseSubnet() error {
	data, err := os.ReadFile(n.file)
	if err == nil {
		var c chosen
		if err := json.Unmarshal(data, &c); err != nil || !c.Subnet.IsValid() {
			return fmt.Errorf("read %s: damaged: %w", n.file, err)
		}
		n.subnet = c.Subnet
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read chosen subnet: %w", err)
	}
	taken, err := takenNetworks()
	if err != nil {
		return err
	}
	start, err := strconv.ParseUint(n.tag[:2], 16, 8)
	if err != nil {
		return fmt.Errorf("choose subnet: %w", err)
	}
	subnet, ok := freeSubnet(int(start), taken)
	if !ok {
		return fault.New(fault.NoSpace, "no free /16 in 10.0.0.0/8 for nodes").WithHint("name one in agent.yaml: `subnet: 172.30.0.0/16`")
	}
	n.subnet = subnet
	data, err = json.Marshal(chosen{Schema: 1, Subnet: subnet})
	if err != nil {
		return err
	}
	return atomicfile.Write(n.file, data, 0o600)
}

// freeSubnet is the first free 10.X.0.0/16 from X on, round once.
func freeSubnet(start int, taken []netip.Prefix) (netip.Prefix, bool) {
	for i := range 256 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(start + i), 0, 0}), 16)
		free := true
		for _, t := range taken {
			free = free && !t.Overlaps(p)
		}
		if free {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// takenNetworks are the machine's routes and addresses, without the default route.
func takenNetworks() ([]netip.Prefix, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var taken []netip.Prefix
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if p, ok := prefixOf(*r.Dst); ok && p.Bits() > 0 {
			taken = append(taken, p)
		}
	}
	return taken, nil
}

func prefixOf(n net.IPNet) (netip.Prefix, bool) {
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits), ok
}

// at is the address number i of the subnet.
func (n *ownNetwork) at(i int) (netip.Addr, bool) {
	size := 1 << (32 - n.subnet.Bits())
	if i < 1 || i >= size-1 { // not the network's, not the broadcast address
		return netip.Addr{}, false
	}
	b := n.subnet.Addr().As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += uint32(i)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}

func (n *ownNetwork) place(slot, declared int) (int, string, error) {
	addr, ok := n.at(slot + 2)
	if slot < 0 || !ok {
		return 0, "", fault.New(fault.NoSpace, "slot %d is outside of the subnet %s", slot, n.subnet).
			WithHint("name a larger one in agent.yaml: `subnet`")
	}
	if declared == 0 {
		return 0, "", nil
	}
	return declared, netip.AddrPortFrom(addr, uint16(declared)).String(), nil
}

// inward is the bridge's own address.
func (n *ownNetwork) inward() string {
	gateway, _ := n.at(1)
	return gateway.String()
}

// open makes the bridge and the rules.
func (n *ownNetwork) open(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.openBridge(); err != nil {
		return fmt.Errorf("make network of nodes: %w", err)
	}
	if n.ready && n.haveRules() {
		return nil
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return fmt.Errorf("make network of nodes: forward packets: %w", err)
	}
	if err := n.setRules(); err != nil {
		return fmt.Errorf("make network of nodes: %w", err)
	}
	n.ready = true
	return nil
}

func (n *ownNetwork) openBridge() error {
	link, err := netlink.LinkByName(n.bridgeName())
	if err == nil && n.ready {
		return nil
	}
	n.ready = false
	if err != nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Alias = n.bridgeName(), n.alias()
		// Its address must not follow that of the newest node, or every node's neighbour table goes stale.
		attrs.HardwareAddr = net.HardwareAddr{0x02, 0x72, 0, 0, 0, 1}
		bridge := &netlink.Bridge{LinkAttrs: attrs}
		if err := netlink.LinkAdd(bridge); err != nil && !errors.Is(err, unix.EEXIST) {
			return missingFeature("bridge", "CONFIG_BRIDGE", err)
		}
		if link, err = netlink.LinkByName(n.bridgeName()); err != nil {
			return fmt.Errorf("find bridge: %w", err)
		}
		_ = netlink.LinkSetAlias(link, attrs.Alias)
	}
	gateway, _ := n.at(1)
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: n.ipNet(gateway)}); err != nil {
		return fmt.Errorf("give bridge its address: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("raise bridge: %w", err)
	}
	return nil
}

func (n *ownNetwork) ipNet(addr netip.Addr) *net.IPNet {
	return &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(n.subnet.Bits(), 32)}
}

func missingFeature(what, option string, err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return fault.New(fault.Unsupported, "this kernel has no %s (%s): %w", what, option, err).
			WithHint("use a kernel with it, or run the agent as an ordinary user: nodes then share the machine's network")
	}
	return fmt.Errorf("make %s: %w", what, err)
}

// alias says on each device of ours whose it is.
func (n *ownNetwork) alias() string { return "release " + n.owner }

// attach makes a link from the bridge into the sandbox, where it is eth0.
func (n *ownNetwork) attach(pid, slot int) error {
	addr, ok := n.at(slot + 2)
	if !ok {
		return fmt.Errorf("connect node: slot %d has no address", slot)
	}
	bridge, err := netlink.LinkByName(n.bridgeName())
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	n.detach(slot)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex, attrs.Flags = n.linkName(slot), bridge.Attrs().Index, net.FlagUp
	attrs.TxQLen = 1000
	link := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(pid), PeerHardwareAddr: hardwareAddr(addr)}
	if err := netlink.LinkAdd(link); err != nil {
		return missingFeature("veth link", "CONFIG_VETH", err)
	}
	if err := netlink.LinkSetAlias(link, n.alias()); err != nil {
		return fmt.Errorf("name link: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("raise link: %w", err)
	}
	return n.configure(pid, addr)
}

// hardwareAddr follows from the address: a new node at an address that another one had just now would else be out of
// reach, for up to a minute, for whoever remembers the other one's.
func hardwareAddr(addr netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, 0x72}, addr.AsSlice()...)
}

// configure sets up eth0 inside.
func (n *ownNetwork) configure(pid int, addr netip.Addr) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	inside, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer inside.Close()
	eth, err := inside.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	if err := inside.AddrAdd(eth, &netlink.Addr{IPNet: n.ipNet(addr)}); err != nil {
		return fmt.Errorf("give node its address %s: %w", addr, err)
	}
	if err := inside.LinkSetUp(eth); err != nil {
		return fmt.Errorf("raise eth0: %w", err)
	}
	gateway, _ := n.at(1)
	if err := inside.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("set default route: %w", err)
	}
	return nil
}

// detach removes a node's link. It goes with the node's namespace too, but only some time after the node.
func (n *ownNetwork) detach(slot int) {
	link, err := netlink.LinkByName(n.linkName(slot))
	if err != nil {
		return
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		n.log.Warn("cannot remove link", "link", n.linkName(slot), "error", err)
	}
}

func (n *ownNetwork) fold(unused func() (bool, error)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if idle, err := unused(); err != nil || !idle {
		return err
	}
	link, err := netlink.LinkByName(n.bridgeName())
	if err != nil {
		return nil //nolint:nilerr // there is none
	}
	n.ready = false
	if err := n.dropRules(); err != nil {
		return fmt.Errorf("take down network of nodes: %w", err)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("take down network of nodes: %w", err)
	}
	return nil
}
