package awstest

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// defaultNetwork is the network that every account has in every region, unless somebody deleted it (Options.NoNetwork).
const defaultNetwork = "vpc-0"

// network is one that a caller made.
type network struct {
	id    string
	block netip.Prefix
}

// subnet is in one zone of a network.
type subnet struct {
	id, zone, network string
	block             netip.Prefix
	used              int
}

// zones are those of a region.
func zones(region string) []string { return []string{region + "a", region + "b", region + "c"} }

// subnetsOf are those of the default network: one in each zone.
func subnetsOf(region string) (all []*subnet) {
	for n, zone := range zones(region) {
		block := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 31, byte(16 * n), 0}), 20)
		all = append(all, &subnet{id: fmt.Sprintf("subnet-%08x%s", len(region), zone[len(region):]), zone: zone, network: defaultNetwork, block: block})
	}
	return all
}

// address is the one of the newest instance.
func (n *subnet) address() string {
	a := n.block.Addr().As4()
	return netip.AddrFrom4([4]byte{a[0], a[1], a[2] + byte(n.used/250), byte(4 + n.used%250)}).String()
}

func (r *region) subnet(id string) *subnet {
	if i := slices.IndexFunc(r.subnets, func(n *subnet) bool { return n.id == id }); i >= 0 {
		return r.subnets[i]
	}
	return nil
}

func noSubnet(id string) *Fault {
	return &Fault{http.StatusBadRequest, "InvalidSubnetID.NotFound", "The subnet ID '" + id + "' does not exist"}
}

func noNetwork(id string) *Fault {
	return &Fault{http.StatusBadRequest, "InvalidVpcID.NotFound", "The vpc ID '" + id + "' does not exist"}
}

type subnetItem struct {
	ID    string `xml:"subnetId"`
	State string `xml:"state"`
	VPC   string `xml:"vpcId"`
	CIDR  string `xml:"cidrBlock"`
	Zone  string `xml:"availabilityZone"`
	Free  int    `xml:"availableIpAddressCount"`
}

func (n *subnet) item() subnetItem {
	return subnetItem{n.id, "available", n.network, n.block.String(), n.zone, 1<<(32-n.block.Bits()) - 5 - n.used} // AWS keeps five
}

func describeSubnets(q *request) (any, *Fault) {
	ids := q.list("SubnetId")
	filters, f := q.filters("Filter", ".Value", "default-for-az", "subnet-id", "availability-zone")
	if f != nil {
		return nil, f
	}
	page, f := q.pageBut(len(ids) > 0, "SubnetIds")
	if f != nil {
		return nil, f
	}
	if f := q.unread(); f != nil {
		return nil, f
	}
	var found []subnetItem
	for _, id := range ids {
		if q.region.subnet(id) == nil {
			return nil, noSubnet(id)
		}
	}
	for _, n := range q.region.subnets {
		ok := pass(filters, &tagged{}, map[string]string{"default-for-az": fmt.Sprint(n.network == defaultNetwork), "subnet-id": n.id, "availability-zone": n.zone})
		if ok && (len(ids) == 0 || slices.Contains(ids, n.id)) {
			found = append(found, n.item())
		}
	}
	shown, next := paged(found, page)
	return struct {
		Items []subnetItem `xml:"subnetSet>item"`
		Next  string       `xml:"nextToken,omitempty"`
	}{shown, next}, nil
}

func describeZones(q *request) (any, *Fault) {
	if f := q.unread(); f != nil {
		return nil, f
	}
	type item struct {
		Name   string `xml:"zoneName"`
		State  string `xml:"zoneState"`
		Region string `xml:"regionName"`
	}
	var all []item
	for _, zone := range zones(q.region.name) {
		all = append(all, item{zone, "available", q.region.name})
	}
	return struct {
		Items []item `xml:"availabilityZoneInfo>item"`
	}{all}, nil
}

// block reads a CIDR block of a size that networks and subnets may have.
func (q *request) block() (netip.Prefix, *Fault) {
	text := q.get("CidrBlock")
	block, err := netip.ParsePrefix(text)
	if err != nil || !block.Addr().Is4() || block != block.Masked() || block.Bits() < 16 || block.Bits() > 28 {
		return block, &Fault{http.StatusBadRequest, "InvalidParameterValue", "Value (" + text + ") for parameter cidrBlock is invalid."}
	}
	return block, nil
}

func createVpc(q *request) (any, *Fault) {
	block, f := q.block()
	if f == nil {
		f = q.unread()
	}
	if f != nil {
		return nil, f
	}
	n := &network{id: q.id("vpc"), block: block}
	q.region.networks[n.id] = n
	return struct {
		ID    string `xml:"vpc>vpcId"`
		State string `xml:"vpc>state"`
		CIDR  string `xml:"vpc>cidrBlock"`
	}{n.id, "pending", block.String()}, nil
}

func deleteVpc(q *request) (any, *Fault) {
	id := q.get("VpcId")
	if f := q.unread(); f != nil {
		return nil, f
	}
	switch {
	case q.region.networks[id] == nil:
		return nil, noNetwork(id)
	case slices.ContainsFunc(q.region.subnets, func(n *subnet) bool { return n.network == id }):
		return nil, &Fault{http.StatusBadRequest, "DependencyViolation", "The vpc '" + id + "' has dependencies and cannot be deleted."}
	}
	delete(q.region.networks, id)
	return nil, nil
}

func createSubnet(q *request) (any, *Fault) {
	id, zone := q.get("VpcId"), q.get("AvailabilityZone")
	block, f := q.block()
	if f == nil {
		f = q.unread()
	}
	if f != nil {
		return nil, f
	}
	in := q.region.networks[id]
	switch {
	case in == nil:
		return nil, noNetwork(id)
	case !slices.Contains(zones(q.region.name), zone):
		return nil, &Fault{http.StatusBadRequest, "InvalidParameterValue", "Value (" + zone + ") for parameter availabilityZone is invalid."}
	case block.Bits() < in.block.Bits() || !in.block.Contains(block.Addr()):
		return nil, &Fault{http.StatusBadRequest, "InvalidSubnet.Range", "The CIDR '" + block.String() + "' is invalid."}
	case slices.ContainsFunc(q.region.subnets, func(n *subnet) bool { return n.network == id && n.block.Overlaps(block) }):
		return nil, &Fault{http.StatusBadRequest, "InvalidSubnet.Conflict", "The CIDR '" + block.String() + "' conflicts with another subnet"}
	}
	n := &subnet{id: q.id("subnet"), zone: zone, network: id, block: block}
	q.region.subnets = append(q.region.subnets, n)
	return struct {
		Item subnetItem `xml:"subnet"`
	}{n.item()}, nil
}

func deleteSubnet(q *request) (any, *Fault) {
	id := q.get("SubnetId")
	if f := q.unread(); f != nil {
		return nil, f
	}
	if q.region.subnet(id) == nil {
		return nil, noSubnet(id)
	}
	for _, i := range q.region.instances {
		if i.subnet == id && (i.ending.IsZero() || time.Now().Before(i.ended)) {
			return nil, &Fault{http.StatusBadRequest, "DependencyViolation", "The subnet '" + id + "' has dependencies and cannot be deleted."}
		}
	}
	for _, b := range q.region.balancing.balancers {
		if slices.ContainsFunc(b.zones, func(n *subnet) bool { return n.id == id }) {
			return nil, &Fault{http.StatusBadRequest, "DependencyViolation", "The subnet '" + id + "' has dependencies and cannot be deleted."}
		}
	}
	q.region.subnets = slices.DeleteFunc(q.region.subnets, func(n *subnet) bool { return n.id == id })
	return nil, nil
}
