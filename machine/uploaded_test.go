package machine_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootandshoot/release/builder/disk"
	"github.com/bootandshoot/release/fleet/ec2/ami"
	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
)

// uploaded is a disk as EC2 would have it: its blocks are written into a snapshot, and what is read back is a QCOW2 file.
func uploaded(t *testing.T, raw string) string {
	t.Helper()
	server := awstest.Start(t, awstest.Options{})
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"} {
		t.Setenv(name, value)
	}
	cfg, err := awsapi.Load(t.Context(), awsapi.Options{Region: "eu-central-1"})
	if err != nil {
		t.Fatal(err)
	}
	store, err := ami.New(cfg, ami.Options{Installation: "test", Dir: t.TempDir(), Poll: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, from)
	if err != nil {
		t.Fatal(err)
	}
	image, err := store.Publish(t.Context(), ami.Disk{Content: from, Size: size, Digest: "sha256:" + hex.EncodeToString(sum.Sum(nil))}, ami.Form{Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	back := create(t, filepath.Join(t.TempDir(), "back.raw"))
	volume, err := store.Read(t.Context(), image.Snapshot, back)
	if err == nil {
		err = back.Truncate(volume) // an instance's disk has the size of the volume, not of what was uploaded
	}
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "back.qcow2")
	if err := disk.WriteQCOW2(t.Context(), create(t, out), back, disk.QCOW2{Compress: true}); err != nil {
		t.Fatal(err)
	}
	return out
}
