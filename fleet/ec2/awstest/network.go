package awstest

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// SecurityGroup is the id of the default network's own group.
const SecurityGroup = "sg-0000000000000000a"

func describeSecurityGroups(q *request) (any, *Fault) {
	ids := q.list("GroupId")
	page, f := q.pageBut(len(ids) > 0, "GroupIds")
	if f != nil {
		return nil, f
	}
	if f := q.unread(); f != nil {
		return nil, f
	}
	for _, id := range ids {
		if id != SecurityGroup {
			return nil, &Fault{http.StatusBadRequest, "InvalidGroup.NotFound", "The security group '" + id + "' does not exist"}
		}
	}
	type item struct {
		ID   string `xml:"groupId"`
		Name string `xml:"groupName"`
		VPC  string `xml:"vpcId"`
	}
	shown, next := paged([]item{{SecurityGroup, "default", defaultNetwork}}, page)
	return struct {
		Items []item `xml:"securityGroupInfo>item"`
		Next  string `xml:"nextToken,omitempty"`
	}{shown, next}, nil
}

// kind is what an instance type's name looks like: family, generation, attributes, size.
var kind = regexp.MustCompile(`^[a-z]+([0-9]+)([a-z-]*)\.[a-z0-9-]+$`)

// describeInstanceTypes knows types by their names alone: those with a g after the generation are arm64, and the first two generations
// boot by BIOS.
func describeInstanceTypes(q *request) (any, *Fault) {
	names := q.list("InstanceType")
	if f := q.unread(); f != nil {
		return nil, f
	}
	type item struct {
		Name  string   `xml:"instanceType"`
		Archs []string `xml:"processorInfo>supportedArchitectures>item"`
		Modes []string `xml:"supportedBootModes>item"`
	}
	var found []item
	for _, name := range names {
		parts := kind.FindStringSubmatch(name)
		if parts == nil {
			return nil, &Fault{http.StatusBadRequest, "InvalidInstanceType", "The following supplied instance types do not exist: [" + name + "]"}
		}
		i := item{name, []string{"x86_64"}, []string{"legacy-bios", "uefi"}}
		switch {
		case strings.HasPrefix(parts[2], "g"):
			i.Archs, i.Modes = []string{"arm64"}, []string{"uefi"}
		case slices.Contains([]string{"1", "2"}, parts[1]):
			i.Modes = []string{"legacy-bios"}
		}
		found = append(found, i)
	}
	return struct {
		Items []item `xml:"instanceTypeSet>item"`
	}{found}, nil
}
