package ec2

import (
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/fleet"
)

// Tags of what the driver makes.
const (
	tagInstallation = "release.installation"
	tagFleet        = "release.fleet"
	tagNode         = "release.node"
	tagSlot         = "release.slot"
	tagImage        = "release.image"
	tagPort         = "release.port"
	tagRemoved      = "release.removed"
	tagQuarantined  = "release.quarantined"
)

func (d *Driver) fleetTags(id fleet.FleetID) []types.Tag {
	return tags("Name", d.nameOf(id), tagInstallation, d.opts.Installation, tagFleet, id.String())
}

func (d *Driver) nodeTags(spec fleet.Spec, n fleet.NodeSpec) []types.Tag {
	return tags("Name", n.Name, tagInstallation, d.opts.Installation, tagFleet, spec.Fleet.String(), tagNode, n.Name, tagSlot, strconv.Itoa(n.Slot),
		tagImage, spec.Image, tagPort, strconv.Itoa(spec.Port))
}

func tags(pairs ...string) (list []types.Tag) {
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, types.Tag{Key: aws.String(pairs[i]), Value: aws.String(pairs[i+1])})
	}
	return list
}

func tagsOf(list []types.Tag) map[string]string {
	out := map[string]string{}
	for _, t := range list {
		out[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return out
}

// ours are filters that leave the installation's, and of those a fleet's unless it is nil.
func (d *Driver) ours(id *fleet.FleetID) []types.Filter {
	filters := []types.Filter{{Name: aws.String("tag:" + tagInstallation), Values: []string{d.opts.Installation}}}
	if id != nil {
		filters = append(filters, types.Filter{Name: aws.String("tag:" + tagFleet), Values: []string{id.String()}})
	}
	return filters
}
