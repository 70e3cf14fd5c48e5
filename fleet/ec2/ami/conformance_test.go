package ami

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// TestConformanceUpload holds at any endpoint (AWS_ENDPOINT_URL): what is uploaded is what is read back.
func TestConformanceUpload(t *testing.T) {
	c := anywhere(t)
	s := c.store()
	t.Cleanup(func() { c.clean(s) })
	first := diskOf(1, 20, 0, 3, 19)
	d := first.disk()
	n, err := s.Upload(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if !n.Whole || n.Disk != d.Digest || n.GiB != 1 {
		t.Errorf("uploaded: %+v", n)
	}
	readBack(t, s, n.ID, first)
	again, err := c.store().Upload(t.Context(), d)
	if err != nil || again.ID != n.ID {
		t.Errorf("the same disk again: %+v %v, want %s", again, err, n.ID)
	}
	orphans, err := s.Orphans(t.Context())
	if err != nil || len(orphans) != 1 || orphans[0].ID != n.ID {
		t.Errorf("orphans: %+v %v, want %s, which has no image", orphans, err, n.ID)
	}
}

// TestConformanceImage holds at any endpoint: an image is registered once, copied, shared, and leaves nothing.
func TestConformanceImage(t *testing.T) {
	c := anywhere(t)
	s := c.store()
	t.Cleanup(func() { c.clean(s); c.clean(s.in("us-west-2")) })
	d := diskOf(2, 8, 1, 2).disk()
	form := Form{Image: "sha256:0123", Arch: "amd64"}
	i, err := s.Publish(t.Context(), d, form)
	if err != nil {
		t.Fatal(err)
	}
	if i.State != "available" || i.Disk != d.Digest || i.Image != form.Image || i.Snapshot == "" || i.Region != s.region {
		t.Errorf("published: %+v", i)
	}
	if again, err := c.store().Publish(t.Context(), d, form); err != nil || again.ID != i.ID {
		t.Errorf("published again: %+v %v, want %s", again, err, i.ID)
	}
	c.checkForm(s, i)
	other, err := s.Copy(t.Context(), i, "us-west-2")
	if err != nil {
		t.Fatal(err)
	}
	if other.State != "available" || other.Region != "us-west-2" || other.Snapshot == i.Snapshot || other.Disk != d.Digest {
		t.Errorf("copied: %+v", other)
	}
	if again, err := s.Copy(t.Context(), i, "us-west-2"); err != nil || again.ID != other.ID {
		t.Errorf("copied again: %+v %v", again, err)
	}
	for range 2 {
		if err := s.Share(t.Context(), i, "111122223333"); err != nil {
			t.Fatal(err)
		}
	}
	out, err := s.ec2.DescribeImageAttribute(t.Context(), &ec2.DescribeImageAttributeInput{ImageId: aws.String(i.ID), Attribute: types.ImageAttributeNameLaunchPermission})
	if err != nil || len(out.LaunchPermissions) != 1 || aws.ToString(out.LaunchPermissions[0].UserId) != "111122223333" {
		t.Errorf("shared with %+v %v", out, err)
	}
	for _, i := range []Image{i, other} {
		for range 2 { // the second time it is gone
			if err := s.Remove(t.Context(), i); err != nil {
				t.Errorf("remove %s: %v", i.ID, err)
			}
		}
		in := s.in(i.Region)
		left, err := in.Images(t.Context())
		orphans, oerr := in.Orphans(t.Context())
		if err != nil || oerr != nil || len(left) != 0 || len(orphans) != 0 {
			t.Errorf("left in %s: %+v %+v %v %v", i.Region, left, orphans, err, oerr)
		}
	}
}

func (c *cloud) checkForm(s *Store, i Image) {
	t := c.t
	t.Helper()
	out, err := s.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{i.ID}})
	if err != nil || len(out.Images) != 1 {
		t.Fatalf("describe %s: %+v %v", i.ID, out, err)
	}
	got := out.Images[0]
	if c.server == nil { // an emulator may keep nothing of it
		t.Logf("boots by %q, ENA %v, is for %q, metadata by %q", got.BootMode, aws.ToBool(got.EnaSupport), got.Architecture, got.ImdsSupport)
		return
	}
	if got.BootMode != types.BootModeValuesUefi || !aws.ToBool(got.EnaSupport) || got.Architecture != types.ArchitectureValuesX8664 || got.ImdsSupport != types.ImdsSupportValuesV20 {
		t.Errorf("boots by %q, ENA %v, is for %q, metadata by %q", got.BootMode, aws.ToBool(got.EnaSupport), got.Architecture, got.ImdsSupport)
	}
	volume := slices.IndexFunc(got.BlockDeviceMappings, func(m types.BlockDeviceMapping) bool { return aws.ToString(m.DeviceName) == rootDevice })
	if volume < 0 || got.BlockDeviceMappings[volume].Ebs.VolumeType != types.VolumeTypeGp3 || aws.ToString(got.BlockDeviceMappings[volume].Ebs.SnapshotId) != i.Snapshot {
		t.Errorf("devices: %+v", got.BlockDeviceMappings)
	}
}

// TestConformanceIncremental: what differs is what moves, and what is read back is the whole disk; also from an endpoint that gives
// a child nothing of its parent.
func TestConformanceIncremental(t *testing.T) {
	c := anywhere(t)
	s := c.store()
	t.Cleanup(func() { c.clean(s) })
	before := diskOf(3, 40, 0, 1, 5, 7, 30, 39)
	if _, err := s.Upload(t.Context(), before.disk()); err != nil {
		t.Fatal(err)
	}
	after := append(content(nil), before...)
	after.fill(4, 5)                        // changed
	clear(after[7*BlockSize : 8*BlockSize]) // zeros now
	after.fill(4, 20)                       // new
	d := after.disk()
	d.Previous = before.disk().Digest
	plan, err := s.Plan(t.Context(), d)
	if err != nil || !slices.Equal(plan.Moves, []int{5, 7, 20}) || plan.Parent != d.Previous {
		t.Fatalf("plan: %v over %q, %v; want blocks 5, 7 and 20", plan.Moves, plan.Parent, err)
	}
	n, err := s.Upload(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	readBack(t, s, n.ID, after)
}
