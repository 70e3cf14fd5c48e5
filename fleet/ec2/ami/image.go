package ami

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/pause"
)

// Image is an AMI of the installation.
type Image struct {
	ID       string
	Name     string
	Region   string
	State    string // "pending", "available", "failed" and others of AWS's
	Disk     string // digest of the disk
	Image    string // what the caller calls it: the digest of the image in the store
	Snapshot string
	Created  time.Time
}

// Form is what an image is registered as.
type Form struct {
	Image string // kept as a tag: the digest of the image in the store
	Arch  string // of Go: "amd64", "arm64"
}

// rootDevice is the name of the root volume; an instance with NVMe volumes names them as it likes.
const rootDevice = "/dev/xvda"

// nameOf is an image's name in every region: unique in account and region, which is what makes registering repeatable.
func (s *Store) nameOf(disk string, encrypted bool) string {
	name := "release-" + s.opts.Installation + "-" + strings.TrimPrefix(disk, "sha256:")[:min(32, len(disk)-7)]
	if encrypted {
		name += "-encrypted"
	}
	return name
}

// Publish uploads a disk and registers the image, unless both was done: the whole way from a disk to an image that can be
// launched. An image of the same disk that is there already is given as it is.
func (s *Store) Publish(ctx context.Context, d Disk, form Form) (Image, error) {
	if recordable(d.Digest) {
		there, err := s.named(ctx, s.nameOf(d.Digest, d.Encrypt))
		if err != nil {
			return Image{}, awsapi.Explain("look for the image of disk "+d.Digest, err)
		}
		if there.ID != "" {
			return s.Await(ctx, there)
		}
	}
	n, err := s.Upload(ctx, d)
	if err != nil {
		return Image{}, err
	}
	return s.Register(ctx, n, d.Encrypt, form)
}

// Register makes the image of a snapshot, and waits until it is available. It boots by UEFI, has ENA, and its instances answer
// metadata requests of version 2 only.
func (s *Store) Register(ctx context.Context, n Snapshot, encrypted bool, form Form) (Image, error) {
	arch, ok := map[string]types.ArchitectureValues{"amd64": types.ArchitectureValuesX8664, "arm64": types.ArchitectureValuesArm64}[form.Arch]
	if !ok {
		return Image{}, fault.New(fault.Unsupported, "register an image for %q: EC2 has amd64 and arm64", form.Arch)
	}
	name := s.nameOf(n.Disk, encrypted)
	tags := append(s.imageTags(n.Disk, form.Image), ec2Tags(tagSnapshot, n.ID)...)
	out, err := s.ec2.RegisterImage(ctx, &ec2.RegisterImageInput{
		Name: aws.String(name), Description: aws.String("release: disk " + n.Disk), Architecture: arch, BootMode: types.BootModeValuesUefi,
		EnaSupport: aws.Bool(true), ImdsSupport: types.ImdsSupportValuesV20, VirtualizationType: aws.String("hvm"), RootDeviceName: aws.String(rootDevice),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String(rootDevice), Ebs: &types.EbsBlockDevice{SnapshotId: aws.String(n.ID),
			VolumeType: types.VolumeTypeGp3, DeleteOnTermination: aws.Bool(true)}}},
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: tags}},
	})
	switch {
	case awsapi.Is(err, "InvalidAMIName.Duplicate"): // an earlier call made it
		return s.awaitNamed(ctx, name)
	case err != nil:
		return Image{}, awsapi.Explain("register the image of "+n.ID, err)
	}
	return s.tagged(ctx, aws.ToString(out.ImageId), tags)
}

// tagged waits for an image that was just made. AWS gave it its tags at once; one of an endpoint that did not gets them now.
func (s *Store) tagged(ctx context.Context, id string, tags []types.Tag) (Image, error) {
	i, err := s.Await(ctx, Image{ID: id, Region: s.region})
	if err != nil || i.Disk != "" {
		return i, err
	}
	if _, err := s.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: tags}); err != nil {
		return i, awsapi.Explain("tag image "+id, err)
	}
	out, err := s.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}})
	if err != nil || len(out.Images) != 1 {
		return i, awsapi.Explain("look at image "+id, err)
	}
	return s.imageOf(out.Images[0]), nil
}

func (s *Store) imageTags(disk, image string) []types.Tag {
	return ec2Tags("Name", "release "+s.opts.Installation, tagInstallation, s.opts.Installation, tagDisk, disk, tagImage, image)
}

// Images lists those of the installation in this region.
func (s *Store) Images(ctx context.Context) ([]Image, error) {
	all, err := s.images(ctx)
	return all, awsapi.Explain("list the images of the installation", err)
}

func (s *Store) images(ctx context.Context, more ...types.Filter) ([]Image, error) {
	var all []Image
	pages := ec2.NewDescribeImagesPaginator(s.ec2, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: s.ours(more...)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, i := range page.Images {
			all = append(all, s.imageOf(i))
		}
	}
	return all, nil
}

func (s *Store) imageOf(i types.Image) Image {
	tags := tagsOf(i.Tags)
	out := Image{ID: aws.ToString(i.ImageId), Name: aws.ToString(i.Name), Region: s.region, State: string(i.State), Disk: tags[tagDisk], Image: tags[tagImage]}
	out.Created, _ = time.Parse(time.RFC3339, aws.ToString(i.CreationDate)) // the zero time for what is not known
	if out.Snapshot = tags[tagSnapshot]; out.Snapshot != "" {
		return out
	}
	for _, m := range i.BlockDeviceMappings { // of a copy
		if m.Ebs != nil && aws.ToString(m.DeviceName) == aws.ToString(i.RootDeviceName) {
			out.Snapshot = aws.ToString(m.Ebs.SnapshotId)
		}
	}
	return out
}

// Of is the AMI of what the caller calls an image, available, encrypted or not as asked; empty for none, and for one that is not whole.
func (s *Store) Of(ctx context.Context, image string, encrypted bool) (Image, error) {
	found, err := s.images(ctx, filter("tag:"+tagImage, image))
	if err != nil {
		return Image{}, awsapi.Explain("look for the AMI of "+image, err)
	}
	for _, i := range found {
		if i.State == "available" && i.Name == s.nameOf(i.Disk, encrypted) {
			return i, nil
		}
	}
	return Image{}, nil
}

// named is the installation's image of a name; empty for none.
func (s *Store) named(ctx context.Context, name string) (Image, error) {
	found, err := s.images(ctx, filter("name", name))
	if err != nil || len(found) == 0 {
		return Image{}, err
	}
	return found[0], nil
}

// awaitNamed waits for an image that was just made: until it is listed, then until it is available.
func (s *Store) awaitNamed(ctx context.Context, name string) (Image, error) {
	for range patience {
		found, err := s.named(ctx, name)
		if err != nil {
			return Image{}, awsapi.Explain("look for image "+name, err)
		}
		if found.ID != "" {
			return s.Await(ctx, found)
		}
		if err := pause.For(ctx, s.opts.Poll); err != nil {
			return Image{}, fmt.Errorf("wait for image %s: %w", name, err)
		}
	}
	return Image{}, fault.New(fault.Exists, "register image %s: the name is taken by an image that is not this installation's", name).
		WithHint("deregister it, or give this installation an id of its own")
}

// Await waits until an image is available.
func (s *Store) Await(ctx context.Context, i Image) (Image, error) {
	in := s.in(i.Region)
	missing := 0
	for i.State != "available" {
		switch i.State {
		case "failed", "error", "invalid", "deregistered":
			return i, fault.New(fault.Failed, "wait for image %s: AWS says it is %s", i.ID, i.State).WithHint("release images gc removes it; then publish it again")
		}
		if err := pause.For(ctx, in.opts.Poll); err != nil {
			return i, fmt.Errorf("wait for image %s: %w", i.ID, err)
		}
		out, err := in.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{i.ID}})
		switch {
		case awsapi.Is(err, "InvalidAMIID.NotFound") && missing < patience:
			missing++
		case err != nil:
			return i, awsapi.Explain("wait for image "+i.ID, err)
		case len(out.Images) == 1:
			i = in.imageOf(out.Images[0])
		}
	}
	return i, nil
}
