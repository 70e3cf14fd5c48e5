package docker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"

	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/fault"
)

// bridge is the nodes' network.
type bridge struct {
	name   string
	subnet netip.Prefix
}

// address is the node's address: the subnet's first is the network itself, its second the gateway, its last broadcast.
func (b bridge) address(slot int) (netip.Addr, error) {
	size := 1 << (32 - b.subnet.Bits())
	if slot < 0 || slot+2 >= size-1 {
		return netip.Addr{}, fault.New(fault.NoSpace, "find address of slot %d: network %s (%s) holds %d nodes", slot, b.name, b.subnet, size-3).
			WithHint("choose a larger subnet in agent.yaml")
	}
	return add(b.subnet.Addr(), uint32(slot)+2), nil
}

func add(a netip.Addr, n uint32) netip.Addr {
	four := a.As4()
	binary.BigEndian.PutUint32(four[:], binary.BigEndian.Uint32(four[:])+n)
	return netip.AddrFrom4(four)
}

// Inward is the gateway of the nodes' network, which is this machine when the engine is on it.
func (d *Driver) Inward(ctx context.Context) (string, error) {
	r, err := d.reach(ctx)
	if err != nil {
		return "", err
	}
	if !r.near || r.publish {
		return "", fault.New(fault.Unsupported, "the engine is on another machine, where its nodes do not reach the router").
			WithHint("run the agent on the engine's machine")
	}
	b, err := d.bridge(ctx)
	if err != nil {
		return "", err
	}
	return add(b.subnet.Addr(), 1).String(), nil
}

func (d *Driver) bridgeName() string { return "release-" + d.opts.Installation }

// inUse reports whether a network could not be removed because something is attached to it.
func inUse(err error) bool { return errdefs.IsPermissionDenied(err) || errdefs.IsConflict(err) }

// bridge finds the installation's network or makes it.
func (d *Driver) bridge(ctx context.Context) (bridge, error) {
	if b := d.knownBridge(); b != nil {
		return *b, nil
	}
	if err := d.greet(ctx); err != nil {
		return bridge{}, err
	}
	d.making.Lock()
	defer d.making.Unlock()
	if b := d.knownBridge(); b != nil {
		return *b, nil
	}
	name := d.bridgeName()
	b, err := d.findBridge(ctx, name)
	if errdefs.IsNotFound(err) {
		b, err = d.makeBridge(ctx, name)
	}
	if err != nil {
		return bridge{}, engineError(err, "make network %s", name)
	}
	d.mu.Lock()
	d.network = &b
	d.mu.Unlock()
	return b, nil
}

func (d *Driver) knownBridge() *bridge {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.network
}

func (d *Driver) forgetBridge() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.network = nil
}

func (d *Driver) findBridge(ctx context.Context, name string) (bridge, error) {
	n, err := d.engine.NetworkInspect(ctx, name, network.InspectOptions{})
	if err != nil {
		return bridge{}, err
	}
	if n.Labels[dockerapi.LabelInstallation] != d.opts.Installation {
		return bridge{}, fault.New(fault.Exists, "network %s exists and is not ours", name).WithHint("see whose it is: docker network inspect %s", name)
	}
	for _, c := range n.IPAM.Config {
		if p, err := netip.ParsePrefix(c.Subnet); err == nil && p.Addr().Is4() {
			return bridge{name: name, subnet: p.Masked()}, nil
		}
	}
	return bridge{}, fault.New(fault.Failed, "network %s has no IPv4 subnet", name).WithHint("remove it when nothing uses it: docker network rm %s", name)
}

// makeBridge makes the network in the first subnet that neither the engine nor this machine uses. The engine has the
// last word: what it says overlaps is passed over too.
func (d *Driver) makeBridge(ctx context.Context, name string) (bridge, error) {
	taken, err := d.takenSubnets(ctx)
	if err != nil {
		return bridge{}, err
	}
	refused := 0
	for _, p := range candidates(d.opts.Installation, d.opts.Subnet) {
		if slices.ContainsFunc(taken, p.Overlaps) {
			continue
		}
		_, err := d.engine.NetworkCreate(ctx, name, d.bridgeOptions(p))
		switch {
		case err == nil:
			if d.opts.Subnet.IsValid() && p != d.opts.Subnet.Masked() {
				d.log.WarnContext(ctx, "wanted subnet is taken, using another", "wanted", d.opts.Subnet, "using", p)
			}
			return bridge{name: name, subnet: p}, nil
		case errdefs.IsConflict(err) || strings.Contains(err.Error(), "already exists"):
			return d.findBridge(ctx, name)
		case !strings.Contains(err.Error(), "overlap") || refused >= 16:
			return bridge{}, err
		}
		refused++
	}
	return bridge{}, fault.New(fault.NoSpace, "no subnet of 10.128.0.0/9 is free").WithHint("remove networks that nothing uses: docker network prune")
}

func (d *Driver) bridgeOptions(p netip.Prefix) network.CreateOptions {
	return network.CreateOptions{
		Driver: "bridge",
		IPAM:   &network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: p.String(), Gateway: add(p.Addr(), 1).String()}}},
		Labels: map[string]string{dockerapi.LabelInstallation: d.opts.Installation, dockerapi.LabelSpec: dockerapi.LabelsVersion},
	}
}

// candidates are the subnets to try, the wanted one first. Each has room for 16,000 nodes; where to begin depends on
// the installation, so that two of them seldom meet.
func candidates(installation string, wanted netip.Prefix) []netip.Prefix {
	var list []netip.Prefix
	if wanted.IsValid() && wanted.Addr().Is4() && wanted.Bits() <= 29 {
		list = append(list, wanted.Masked())
	}
	h := fnv.New32a()
	h.Write([]byte(installation))
	const count = 512 // 10.128.0.0/9 in blocks of /18
	for i := range uint32(count) {
		block := (h.Sum32() + i) % count
		list = append(list, netip.PrefixFrom(add(netip.AddrFrom4([4]byte{10, 128}), block<<14), 18))
	}
	return list
}

// takenSubnets are the subnets of the engine's networks, and this machine's routes when the engine is on it.
func (d *Driver) takenSubnets(ctx context.Context) ([]netip.Prefix, error) {
	nets, err := d.engine.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return nil, err
	}
	var taken []netip.Prefix
	for _, n := range nets {
		for _, c := range n.IPAM.Config {
			if p, err := netip.ParsePrefix(c.Subnet); err == nil {
				taken = append(taken, p)
			}
		}
	}
	r, err := d.reach(ctx)
	if err != nil || !r.near {
		return taken, err
	}
	table, err := os.ReadFile("/proc/net/route")
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	return append(taken, parseRoutes(table)...), nil
}

// parseRoutes reads the destinations of a /proc/net/route table, the default route left out. Lines it cannot read
// are passed over.
func parseRoutes(table []byte) []netip.Prefix {
	var list []netip.Prefix
	for sc := bufio.NewScanner(bytes.NewReader(table)); sc.Scan(); {
		f := strings.Fields(sc.Text()) // interface, destination, gateway, flags, refcnt, use, metric, mask, …
		if len(f) < 8 {
			continue
		}
		dst, err1 := hex.DecodeString(f[1])
		mask, err2 := hex.DecodeString(f[7])
		if err1 != nil || err2 != nil || len(dst) != 4 || len(mask) != 4 {
			continue
		}
		bits := 0
		for m := binary.LittleEndian.Uint32(mask); m&(1<<31) != 0; m <<= 1 {
			bits++
		}
		if bits > 0 {
			list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{dst[3], dst[2], dst[1], dst[0]}), bits).Masked())
		}
	}
	return list
}
