package ec2

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/ec2/ami"
	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
)

const region = awstest.Region

// cloud is an AWS to test against: the endpoint that AWS_ENDPOINT_URL names, or a server of our own.
type cloud struct {
	t            *testing.T
	server       *awstest.Server // nil at a foreign endpoint
	installation string
	dir          string
	subnets      []string
	releases     int
}

// anywhere is for tests that hold at any endpoint: those named TestConformance.
func anywhere(t *testing.T) *cloud {
	if !awstest.Foreign(t) {
		return here(t, awstest.Options{Takes: 10 * time.Millisecond, Lag: 5 * time.Millisecond})
	}
	c := begin(t, nil)
	if err := awstest.NoBlocks(t, c.config()); err != nil {
		t.Logf("the endpoint lacks the EBS direct APIs: the image is of an empty volume: %v", err)
		c.emptyImage()
	}
	return c
}

// here is for tests that want faults.
func here(t *testing.T, o awstest.Options) *cloud {
	s := awstest.Start(t, o)
	s.Use(t)
	return begin(t, s)
}

func begin(t *testing.T, s *awstest.Server) *cloud {
	c := &cloud{t: t, server: s, installation: "test-" + strings.ToLower(rand.Text()[:8]), dir: t.TempDir()}
	c.subnets = awstest.Subnets(t, c.config())
	t.Cleanup(c.clean)
	return c
}

// emptyImage registers the image that the tests boot where no disk can be written.
func (c *cloud) emptyImage() {
	c.t.Helper()
	ctx, api := c.t.Context(), ec2.NewFromConfig(c.config())
	subnets, err := api.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: c.subnets[:1]})
	if err != nil || len(subnets.Subnets) != 1 {
		c.t.Fatalf("look for the zone: %+v %v", subnets, err)
	}
	volume, err := api.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: subnets.Subnets[0].AvailabilityZone, Size: aws.Int32(1)})
	if err != nil {
		c.t.Fatalf("make a volume: %v", err)
	}
	c.t.Cleanup(func() {
		if _, err := api.DeleteVolume(context.WithoutCancel(ctx), &ec2.DeleteVolumeInput{VolumeId: volume.VolumeId}); err != nil {
			c.t.Errorf("delete the volume: %v", err)
		}
	})
	snapshot, err := api.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	if err != nil {
		c.t.Fatalf("make a snapshot: %v", err)
	}
	completed := ec2.NewSnapshotCompletedWaiter(api, func(o *ec2.SnapshotCompletedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 5*time.Second
	})
	if err := completed.Wait(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{aws.ToString(snapshot.SnapshotId)}}, 10*time.Minute); err != nil {
		c.t.Fatalf("wait for the snapshot: %v", err)
	}
	disk, err := machineDisk(image1)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.driver().opts.Images.Register(ctx, ami.Snapshot{ID: aws.ToString(snapshot.SnapshotId), Disk: disk.Digest}, false, ami.Form{Image: image1, Arch: disk.Arch}); err != nil {
		c.t.Fatalf("register the image: %v", err)
	}
}

func (c *cloud) config(change ...func(*awsapi.Options)) aws.Config {
	c.t.Helper()
	o := awsapi.Options{Backoff: 5 * time.Millisecond}
	for _, f := range change {
		f(&o)
	}
	cfg, err := awsapi.Load(context.WithoutCancel(c.t.Context()), o)
	if err != nil {
		c.t.Fatal(err)
	}
	return cfg
}

// machineDisk is the machine of the image that the tests boot. Nothing boots it.
func machineDisk(image string) (Disk, error) {
	if image != image1 {
		return Disk{}, fmt.Errorf("image %s: %w", image, fleet.ErrImageLacksTarget)
	}
	content := bytes.Repeat([]byte("disk"), ami.BlockSize/4)
	sum := sha256.Sum256(content)
	return Disk{Disk: ami.Disk{Content: bytes.NewReader(content), Size: int64(len(content)), Digest: "sha256:" + hex.EncodeToString(sum[:])}, Arch: "amd64"}, nil
}

const image1 = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

// driver is one as a new process would have it.
func (c *cloud) driver(change ...func(*Options, *awsapi.Options)) *Driver {
	c.t.Helper()
	o := Options{Installation: c.installation, Place: fleet.Placement{Subnets: c.subnets, Types: []string{"t3.micro", "t3a.micro"}}, Poll: 3 * time.Millisecond,
		Disk: func(_ context.Context, image string) (Disk, error) { return machineDisk(image) }}
	if c.server == nil {
		o.Poll = 200 * time.Millisecond
	}
	cfg := c.config(func(a *awsapi.Options) {
		for _, f := range change {
			f(&o, a)
		}
	})
	images, err := ami.New(cfg, ami.Options{Installation: o.Installation, Dir: c.dir, Poll: o.Poll})
	if err != nil {
		c.t.Fatal(err)
	}
	o.Images = images
	d, err := New(cfg, o)
	if err != nil {
		c.t.Fatal(err)
	}
	return d
}

// spec is a fresh fleet of n nodes.
func (c *cloud) spec(n int) fleet.Spec {
	c.releases++
	spec := fleet.Spec{Fleet: fleet.FleetID{App: "shop", Env: "test", Role: "web", Release: fmt.Sprintf("r%d", c.releases), Incarnation: 1},
		Installation: c.installation, Kind: fleet.Serve, Image: image1, Port: 8080, Env: map[string]string{"LOG": "info"}, Secrets: map[string]string{"KEY": "hush"}}
	for i := range n {
		spec.Nodes = append(spec.Nodes, fleet.NodeSpec{Name: fmt.Sprintf("%s-r%d-n%d", c.installation, c.releases, i), Slot: 10*c.releases + i})
	}
	return spec
}

// clean removes all that the test made, and demands that it is gone.
func (c *cloud) clean() {
	ctx := context.WithoutCancel(c.t.Context())
	d := c.driver()
	fleets, err := d.Fleets(ctx)
	if err != nil {
		c.t.Error(err)
	}
	for _, f := range fleets {
		if err := d.Destroy(ctx, f.ID); err != nil {
			c.t.Error(err)
		}
	}
	images, err := d.opts.Images.Images(ctx)
	if err != nil {
		c.t.Error(err)
	}
	for _, i := range images {
		if err := d.opts.Images.Remove(ctx, i); err != nil {
			c.t.Error(err)
		}
	}
	fleets, err = d.Fleets(ctx)
	orphans, oerr := d.opts.Images.Orphans(ctx)
	if err != nil || oerr != nil || len(fleets) != 0 || len(orphans) != 0 {
		c.t.Errorf("left: fleets %+v, snapshots %+v; %v %v", fleets, orphans, err, oerr)
	}
}

func (c *cloud) boot(d *Driver, n int) (fleet.Spec, []fleet.Node) {
	c.t.Helper()
	spec := c.spec(n)
	if err := d.Prepare(c.t.Context(), spec); err != nil {
		c.t.Fatal(err)
	}
	nodes, err := d.Ensure(c.t.Context(), spec)
	if err != nil || len(nodes) != n {
		c.t.Fatalf("ensure: %+v %v", nodes, err)
	}
	return spec, nodes
}

func (c *cloud) nodes(d *Driver, spec fleet.Spec) []fleet.Node {
	c.t.Helper()
	nodes, err := d.Nodes(c.t.Context(), spec.Fleet)
	if err != nil {
		c.t.Fatal(err)
	}
	return nodes
}

// eventually polls until check is content.
func (c *cloud) eventually(what string, check func() error) {
	c.t.Helper()
	if !c.server.Eventually(c.t, what, check) {
		c.t.FailNow()
	}
}
