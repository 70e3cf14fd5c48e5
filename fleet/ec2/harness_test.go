package ec2

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/ec2/ami"
	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
)

const region = "eu-central-1"

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
	if os.Getenv("AWS_ENDPOINT_URL") == "" {
		return here(t, awstest.Options{Takes: 10 * time.Millisecond, Lag: 5 * time.Millisecond})
	}
	return begin(t, nil)
}

// here is for tests that want faults.
func here(t *testing.T, o awstest.Options) *cloud {
	s := awstest.Start(t, o)
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": s.URL, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": "",
		"AWS_REGION": region, "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_PROFILE": ""} {
		t.Setenv(name, value)
	}
	return begin(t, s)
}

func begin(t *testing.T, s *awstest.Server) *cloud {
	c := &cloud{t: t, server: s, installation: "test-" + strings.ToLower(rand.Text()[:8]), dir: t.TempDir()}
	out, err := ec2.NewFromConfig(c.config()).DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{Filters: []types.Filter{{Name: aws.String("default-for-az"), Values: []string{"true"}}}})
	if err != nil || len(out.Subnets) < 2 {
		t.Fatalf("the tests need a default network with two subnets: %+v %v", out, err)
	}
	for _, n := range out.Subnets {
		c.subnets = append(c.subnets, aws.ToString(n.SubnetId))
	}
	t.Cleanup(c.clean)
	return c
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
	o := Options{Installation: c.installation, Subnets: c.subnets, Types: []string{"t3.micro", "t3a.micro"}, Poll: 3 * time.Millisecond,
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
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
