package images

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootandshoot/release/internal/fault"
)

// smallDisk is the size of a disk of which only the form matters, in bytes.
const smallDisk = 1 << 20

// putMachine lists an image that is a machine, with a disk of size bytes, most of them a hole.
func putMachine(t *testing.T, s *Store, size int64) (Digest, Machine) {
	t.Helper()
	hold, err := s.Hold(t.Context())
	check(t, err)
	defer hold()
	m := Machine{Release: "6.1.0-1-cloud-amd64", Arch: "amd64", Cmdline: "quiet", RootHash: strings.Repeat("0", 64), Init: "supervisor",
		Packages: []MachineInput{{Name: "linux", Version: "1", Arch: "amd64", SHA256: strings.Repeat("1", 64)}}}
	m.Kernel = must[Descriptor](t)(s.WriteBlob(t.Context(), strings.NewReader("kernel")))
	m.Initrd = must[Descriptor](t)(s.WriteBlob(t.Context(), strings.NewReader("initrd")))
	m.Disk = MachineDisk{Format: DiskRaw, Capacity: size}
	m.Disk.Descriptor = must[Descriptor](t)(s.MakeBlob(t.Context(), func(f *os.File) error {
		if _, err := f.WriteAt([]byte("behind a hole"), 1<<19); err != nil {
			return err
		}
		return f.Truncate(size)
	}))
	img := must[Image](t)(s.WriteMachine(t.Context(), Image{Config: testConfig(), Layers: []Layer{fileLayer(t, s, "app", "program")}}, m))
	d := must[Digest](t)(s.Write(t.Context(), img))
	check(t, s.AttachMachine(t.Context(), d))
	check(t, s.Tag(t.Context(), d, "shop"))
	m.Schema = machineSchema
	return d, m
}

func TestMachineOfAnImage(t *testing.T) {
	s := newStore(t)
	d, want := putMachine(t, s, smallDisk)
	got := must[Machine](t)(s.CheckMachine(t.Context(), d))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	data, err := os.ReadFile(s.BlobPath(got.Disk.Digest))
	if err != nil || len(data) != smallDisk || !bytes.HasPrefix(data[1<<19:], []byte("behind a hole")) {
		t.Errorf("a disk of %d bytes: %v", len(data), err)
	}
	again, _ := putMachine(t, s, smallDisk)
	if again != d {
		t.Errorf("the same machine has the digests %s and %s", d, again)
	}
	if list := must[[]Referrer](t)(s.Referrers(d, ArtifactMachine)); len(list) != 1 {
		t.Errorf("it is listed %d times", len(list))
	}
}

func TestMachineLivesWithItsImage(t *testing.T) {
	s := newStore(t)
	d, m := putMachine(t, s, artifactLimit+smallDisk) // as disks are: larger than what is read into memory
	to := newStore(t)
	dir := t.TempDir() + "/layout"
	check(t, s.ExportOCI(t.Context(), d, dir))
	if got := must[Digest](t)(to.Import(t.Context(), Source{Path: dir})); got != d {
		t.Fatalf("the image is %s elsewhere", got)
	}
	if _, err := to.CheckMachine(t.Context(), d); err != nil {
		t.Errorf("its machine did not come along: %v", err)
	}
	check(t, s.Remove(t.Context(), d, false))
	if s.Has(m.Disk.Digest) || s.Has(m.Kernel.Digest) {
		t.Error("the disk outlives its image")
	}
}

func TestMachineThatIsNone(t *testing.T) {
	s := newStore(t)
	plain := must[Digest](t)(s.Put(t.Context(), Image{Config: testConfig(), Layers: []Layer{fileLayer(t, s, "app", "program")}}, "plain"))
	if _, err := s.Machine(plain); !fault.Is(err, fault.Unsupported) {
		t.Errorf("a container is %v", err)
	}
	d, m := putMachine(t, s, smallDisk)
	if _, err := s.Machine(d); err != nil {
		t.Fatal(err)
	}
	check(t, os.WriteFile(s.BlobPath(m.Initrd.Digest), []byte("initrx"), 0o644))
	if _, err := s.CheckMachine(t.Context(), d); err == nil {
		t.Error("a damaged initrd is not seen")
	}
	check(t, os.Remove(s.BlobPath(m.Disk.Digest)))
	if _, err := s.Machine(d); !fault.Is(err, fault.NotFound) {
		t.Errorf("a disk that is gone is %v", err)
	}
}
