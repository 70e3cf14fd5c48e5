package awstest

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var ec2Actions = map[string]action{
	"CopyImage":                 copyImage,
	"CreateLaunchTemplate":      createLaunchTemplate,
	"CreateSnapshot":            createSnapshot,
	"CreateSubnet":              createSubnet,
	"CreateTags":                createTags,
	"CreateVolume":              createVolume,
	"CreateVpc":                 createVpc,
	"DeleteLaunchTemplate":      deleteLaunchTemplate,
	"DeleteSnapshot":            deleteSnapshot,
	"DeleteSubnet":              deleteSubnet,
	"DeleteVolume":              deleteVolume,
	"DeleteVpc":                 deleteVpc,
	"DeregisterImage":           deregisterImage,
	"DescribeAvailabilityZones": describeZones,
	"DescribeImageAttribute":    describeImageAttribute,
	"DescribeImages":            describeImages,
	"DescribeInstances":         describeInstances,
	"DescribeInstanceTypes":     describeInstanceTypes,
	"DescribeLaunchTemplates":   describeLaunchTemplates,
	"DescribeSecurityGroups":    describeSecurityGroups,
	"DescribeSnapshots":         describeSnapshots,
	"DescribeSubnets":           describeSubnets,
	"ModifyImageAttribute":      modifyImageAttribute,
	"RegisterImage":             registerImage,
	"RunInstances":              runInstances,
	"TerminateInstances":        terminateInstances,
}

// image is an AMI: pending for a moment, then available.
type image struct {
	tagged
	id, name, description, arch, boot, imds, root, snapshot, volume string
	ena, keep                                                       bool
	gib                                                             int64
	began, available                                                time.Time
	shared                                                          []string // accounts
}

// copiedImage is what a client token of CopyImage stands for.
type copiedImage struct{ name, source, id string }

func (s *Server) imageState(i *image) string {
	if time.Now().After(i.available) {
		return "available"
	}
	return "pending"
}

func noImage(id string) *Fault {
	return &Fault{http.StatusBadRequest, "InvalidAMIID.NotFound", "The image id '[" + id + "]' does not exist"}
}

// imageName is what AWS allows: 3 to 128 of these.
var imageName = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./'@_-]{3,128}$`)

func (q *request) freeName(name string) *Fault {
	if !imageName.MatchString(name) {
		return &Fault{http.StatusBadRequest, "InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long"}
	}
	for _, i := range q.region.images {
		if i.name == name {
			return &Fault{http.StatusBadRequest, "InvalidAMIName.Duplicate", "AMI name " + name + " is already in use by AMI " + i.id}
		}
	}
	return nil
}

func registerImage(q *request) (any, *Fault) {
	i := &image{name: q.get("Name"), description: q.get("Description"), arch: q.get("Architecture"), boot: q.get("BootMode"), imds: q.get("ImdsSupport"),
		root: q.get("RootDeviceName"), ena: q.get("EnaSupport") == "true", volume: "gp2"}
	if v := q.get("VirtualizationType"); v != "hvm" {
		return nil, &Fault{http.StatusBadRequest, "InvalidParameterValue", "virtualization type '" + v + "' has no images here"}
	}
	tags, f := q.specified("image", "snapshot")
	if f != nil {
		return nil, f
	}
	i.tags = tags["image"]
	q.each("BlockDeviceMapping", func(p string) {
		if q.get(p+".DeviceName") != i.root {
			return
		}
		i.snapshot, i.keep = q.get(p+".Ebs.SnapshotId"), q.get(p+".Ebs.DeleteOnTermination") == "false"
		i.gib, _ = strconv.ParseInt(q.get(p+".Ebs.VolumeSize"), 10, 64)
		if v := q.get(p + ".Ebs.VolumeType"); v != "" {
			i.volume = v
		}
	})
	if f := q.unread(); f != nil {
		return nil, f
	}
	n := q.region.snapshots[i.snapshot]
	switch f := q.freeName(i.name); {
	case f != nil:
		return nil, f
	case n == nil:
		return nil, noSnapshot(i.snapshot)
	case q.status(n) != "completed":
		return nil, &Fault{http.StatusBadRequest, "IncorrectState", "The snapshot '" + n.id + "' is not 'completed'."}
	case i.gib != 0 && i.gib < n.gib:
		return nil, &Fault{http.StatusBadRequest, "InvalidBlockDeviceMapping", "Volume of size " + strconv.FormatInt(i.gib, 10) + "GB is smaller than snapshot '" + n.id + "'"}
	}
	i.gib = max(i.gib, n.gib)
	return q.add(q.region, i), nil
}

type imageID struct {
	ID string `xml:"imageId"`
}

func (q *request) add(r *region, i *image) imageID {
	i.id, i.began = q.id("ami"), time.Now()
	i.available = i.began.Add(q.opts.Takes)
	r.images[i.id] = i
	return imageID{i.id}
}

type imageItem struct {
	ID      string        `xml:"imageId"`
	State   string        `xml:"imageState"`
	Owner   string        `xml:"imageOwnerId"`
	Created string        `xml:"creationDate"`
	Public  bool          `xml:"isPublic"`
	Arch    string        `xml:"architecture"`
	Type    string        `xml:"imageType"`
	Name    string        `xml:"name"`
	About   string        `xml:"description"`
	Root    string        `xml:"rootDeviceName"`
	RootOn  string        `xml:"rootDeviceType"`
	Virt    string        `xml:"virtualizationType"`
	ENA     bool          `xml:"enaSupport"`
	Boot    string        `xml:"bootMode,omitempty"`
	IMDS    string        `xml:"imdsSupport,omitempty"`
	Devices []imageDevice `xml:"blockDeviceMapping>item"`
	Tags    []tag         `xml:"tagSet>item"`
}

type imageDevice struct {
	Name      string `xml:"deviceName"`
	Snapshot  string `xml:"ebs>snapshotId"`
	Size      int64  `xml:"ebs>volumeSize"`
	Delete    bool   `xml:"ebs>deleteOnTermination"`
	Type      string `xml:"ebs>volumeType"`
	Encrypted bool   `xml:"ebs>encrypted"`
}

func describeImages(q *request) (any, *Fault) {
	ids, owners := q.list("ImageId"), q.list("Owner")
	filters, f := q.filters("Filter", ".Value", "state", "name", "image-id", "owner-id", "architecture", "block-device-mapping.snapshot-id")
	if f != nil {
		return nil, f
	}
	page, f := q.pageBut(len(ids) > 0, "ImageIds")
	if f != nil {
		return nil, f
	}
	if f := q.unread(); f != nil {
		return nil, f
	}
	for _, id := range ids {
		if i := q.region.images[id]; i == nil || q.unseen(i.began) {
			return nil, noImage(id)
		}
	}
	var found []imageItem
	for id, i := range q.region.images {
		if q.unseen(i.began) || len(ids) > 0 && !slices.Contains(ids, id) || len(owners) > 0 && !owned(owners) {
			continue
		}
		state := q.imageState(i)
		ok := pass(filters, &i.tagged, map[string]string{"state": state, "name": i.name, "image-id": id, "owner-id": Account, "architecture": i.arch,
			"block-device-mapping.snapshot-id": i.snapshot})
		if ok {
			n := q.region.snapshots[i.snapshot]
			found = append(found, imageItem{ID: id, State: state, Owner: Account, Created: i.began.UTC().Format("2006-01-02T15:04:05.000Z"), Arch: i.arch,
				Type: "machine", Name: i.name, About: i.description, Root: i.root, RootOn: "ebs", Virt: "hvm", ENA: i.ena, Boot: i.boot, IMDS: i.imds,
				Devices: []imageDevice{{i.root, i.snapshot, i.gib, !i.keep, i.volume, n != nil && n.encrypted}}, Tags: i.tagList()})
		}
	}
	slices.SortFunc(found, func(a, b imageItem) int { return strings.Compare(a.ID, b.ID) })
	shown, next := paged(found, page)
	return struct {
		Items []imageItem `xml:"imagesSet>item"`
		Next  string      `xml:"nextToken,omitempty"`
	}{shown, next}, nil
}

func deregisterImage(q *request) (any, *Fault) {
	id := q.get("ImageId")
	if f := q.unread(); f != nil {
		return nil, f
	}
	if q.region.images[id] == nil {
		return nil, &Fault{http.StatusBadRequest, "InvalidAMIID.Unavailable", "The image ID '" + id + "' is no longer available"}
	}
	delete(q.region.images, id)
	return nil, nil
}

// copyImage makes an image and a snapshot of its own in the region that is asked.
func copyImage(q *request) (any, *Fault) {
	name, source, token, encrypt, key := q.get("Name"), q.get("SourceImageId"), q.get("ClientToken"), q.get("Encrypted") == "true", q.get("KmsKeyId")
	from, about := q.Server.region(q.get("SourceRegion")), q.get("Description")
	tags, f := q.specified("image", "snapshot")
	if f != nil {
		return nil, f
	}
	if f := q.unread(); f != nil {
		return nil, f
	}
	if before, ok := q.region.copied[token]; ok && token != "" {
		if before.name != name || before.source != source {
			return nil, &Fault{http.StatusBadRequest, "IdempotentParameterMismatch", "The client token was used with other parameters"}
		}
		return imageID{before.id}, nil
	}
	i := from.images[source]
	switch {
	case i == nil:
		return nil, noImage(source)
	case q.imageState(i) != "available":
		return nil, &Fault{http.StatusBadRequest, "InvalidAMIID.Unavailable", "The image ID '" + source + "' is not available"}
	}
	if f := q.freeName(name); f != nil {
		return nil, f
	}
	n := from.snapshots[i.snapshot]
	copied := *n
	copied.id, copied.tags, copied.from, copied.written = q.id("snap"), tags["snapshot"], n, nil
	copied.encrypted, copied.key = n.encrypted || encrypt, key
	copied.began, copied.completed = time.Now(), time.Now().Add(q.opts.Takes)
	q.region.snapshots[copied.id] = &copied
	other := *i
	other.name, other.description, other.snapshot, other.tags, other.shared = name, about, copied.id, tags["image"], nil
	id := q.add(q.region, &other)
	q.region.copied[token] = copiedImage{name, source, id.ID}
	return id, nil
}

func modifyImageAttribute(q *request) (any, *Fault) {
	id := q.get("ImageId")
	q.get("Attribute")
	var add, remove []string
	q.each("LaunchPermission.Add", func(p string) { add = append(add, q.get(p+".UserId")) })
	q.each("LaunchPermission.Remove", func(p string) { remove = append(remove, q.get(p+".UserId")) })
	if f := q.unread(); f != nil {
		return nil, f
	}
	i := q.region.images[id]
	if i == nil {
		return nil, noImage(id)
	}
	for _, account := range add {
		if len(account) != 12 {
			return nil, &Fault{http.StatusBadRequest, "InvalidAMIAttributeItemValue", "Invalid attribute item value \"" + account + "\" for userId"}
		}
		if !slices.Contains(i.shared, account) {
			i.shared = append(i.shared, account)
		}
	}
	i.shared = slices.DeleteFunc(i.shared, func(a string) bool { return slices.Contains(remove, a) })
	return nil, nil
}

func describeImageAttribute(q *request) (any, *Fault) {
	id, attribute := q.get("ImageId"), q.get("Attribute")
	if f := q.unread(); f != nil {
		return nil, f
	}
	i := q.region.images[id]
	if i == nil {
		return nil, noImage(id)
	}
	if attribute != "launchPermission" {
		return nil, &Fault{http.StatusBadRequest, "InvalidParameterValue", "attribute " + attribute + " is not known here"}
	}
	type permission struct {
		User string `xml:"userId"`
	}
	var list []permission
	for _, a := range i.shared {
		list = append(list, permission{a})
	}
	return struct {
		ID   string       `xml:"imageId"`
		List []permission `xml:"launchPermission>item"`
	}{id, list}, nil
}
