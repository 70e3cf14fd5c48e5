package ami

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	crand "crypto/rand"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
)

// cloud is an AWS to test against: the endpoint that AWS_ENDPOINT_URL names, or a server of our own.
type cloud struct {
	t            *testing.T
	server       *awstest.Server // nil at a foreign endpoint
	installation string
	dir          string
}

// anywhere is for tests that hold at any endpoint: those named TestConformance.
func anywhere(t *testing.T) *cloud {
	if !awstest.Foreign(t) {
		return here(t, awstest.Options{Lag: 3 * time.Millisecond})
	}
	cfg, err := awsapi.Load(t.Context(), awsapi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := awstest.NoBlocks(t, cfg); err != nil {
		t.Skipf("the endpoint lacks the EBS direct APIs, which this test is of: %v", err)
	}
	return &cloud{t: t, installation: "test-" + strings.ToLower(crand.Text()[:8]), dir: t.TempDir()}
}

// here is for tests that want faults.
func here(t *testing.T, o awstest.Options) *cloud {
	s := awstest.Start(t, o)
	s.Use(t)
	return &cloud{t: t, server: s, installation: "test-" + strings.ToLower(crand.Text()[:8]), dir: t.TempDir()}
}

// store is one as a new process would have it.
func (c *cloud) store(change ...func(*awsapi.Options, *Options)) *Store {
	c.t.Helper()
	a, o := awsapi.Options{Backoff: 5 * time.Millisecond}, Options{Installation: c.installation, Dir: c.dir, Poll: 2 * time.Millisecond}
	if c.server == nil {
		o.Poll = 200 * time.Millisecond
	}
	for _, f := range change {
		f(&a, &o)
	}
	cfg, err := awsapi.Load(c.t.Context(), a)
	if err != nil {
		c.t.Fatal(err)
	}
	s, err := New(cfg, o)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// with has the store's requests go through a client.
func with(client aws.HTTPClient) func(*awsapi.Options, *Options) {
	return func(a *awsapi.Options, _ *Options) { a.Client, a.Tries = client, 2 }
}

// puts counts the blocks that were sent.
func (c *cloud) puts() (n int) {
	for _, call := range c.server.Calls() {
		if call.Action == "PutSnapshotBlock" {
			n++
		}
	}
	return n
}

// clean removes what a test made, and demands that nothing of the installation is left.
func (c *cloud) clean(s *Store) {
	c.t.Helper()
	ctx := context.WithoutCancel(c.t.Context())
	images, err := s.Images(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, i := range images {
		if err := s.Remove(ctx, i); err != nil {
			c.t.Error(err)
		}
	}
	orphans, err := s.Orphans(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, o := range orphans {
		if err := s.RemoveSnapshot(ctx, o); err != nil {
			c.t.Error(err)
		}
	}
}

// content is a disk in memory.
type content []byte

func (c content) ReadAt(p []byte, at int64) (int, error) {
	if at >= int64(len(c)) {
		return 0, io.EOF
	}
	n := copy(p, c[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// diskOf has random bytes in the given blocks, and ends in the middle of its last one.
func diskOf(seed uint64, blocks int, used ...int) content {
	disk := make(content, blocks*BlockSize-512)
	for _, i := range used {
		disk.fill(seed, i)
	}
	return disk
}

func (c content) fill(seed uint64, i int) {
	block := c[i*BlockSize : min((i+1)*BlockSize, len(c))]
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(i), byte(i >> 8)}).Read(block)
}

func (c content) disk() Disk {
	sum := sha256.Sum256(c)
	return Disk{Content: c, Size: int64(len(c)), Digest: "sha256:" + hex.EncodeToString(sum[:])}
}

// readBack demands that a snapshot is the disk, and zeros behind it.
func readBack(t *testing.T, s *Store, id string, want content) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size, err := s.Read(t.Context(), id, file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	if size < int64(len(want)) {
		t.Fatalf("the volume has %d bytes, the disk %d", size, len(want))
	}
	got = append(got, make([]byte, max(0, len(want)-len(got)))...)
	if string(got[:len(want)]) != string(want) || strings.Trim(string(got[len(want):]), "\x00") != "" {
		t.Fatalf("the blocks of %s are not the disk", id)
	}
}
