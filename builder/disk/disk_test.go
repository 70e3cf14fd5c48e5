package disk

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

func buildDisk(t *testing.T) (*os.File, Result) {
	t.Helper()
	f := newFile(t, "disk.raw")
	res, err := Build(t.Context(), f, Request{Files: putImage(t, "amd64", layersOfAllKinds()...), Kernel: someKernel(), Stub: stub(t),
		Data: []Volume{{"data", "/srv/data"}}, Cmdline: []string{"init=/bin/app"}, Epoch: 1_700_000_000})
	if err != nil {
		t.Fatal(err)
	}
	return f, res
}

func TestDiskIsWhatOthersUnderstand(t *testing.T) {
	f, res := buildDisk(t)
	table := partitionTable(t, f)
	if len(table) != 3 || table[0].Name != "esp" || table[1].Name != "root-"+res.RootHash[:16] || table[2].Name != "hash-"+res.RootHash[:16] {
		t.Fatalf("partitions %+v of a root with the hash %s", table, res.RootHash)
	}
	esp := cut(t, f, table[0].Start*512, table[0].Size*512)
	mustTool(t, "dosfstools", "fsck.fat", "-n", "-v", esp)
	root, hashes := cut(t, f, table[1].Start*512, table[1].Size*512), cut(t, f, table[2].Start*512, table[2].Size*512)
	checkExt4(t, root)
	mustTool(t, "cryptsetup-bin", "veritysetup", "verify", root, hashes, res.RootHash)
	if want := " release.data=data:/srv/data init=/bin/app"; !strings.HasSuffix(res.Cmdline, want) || !strings.Contains(res.Cmdline, " release.root="+res.RootHash+":") {
		t.Errorf("command line %q", res.Cmdline)
	}
}

type tableEntry struct {
	Start, Size int64
	Name, Type  string
}

func partitionTable(t *testing.T, f *os.File) []tableEntry {
	t.Helper()
	if out := mustTool(t, "fdisk", "sfdisk", "--verify", f.Name()); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk says of the partition table:\n%s", out)
	}
	var said struct {
		PartitionTable struct{ Partitions []tableEntry }
	}
	if err := json.Unmarshal([]byte(mustTool(t, "fdisk", "sfdisk", "--json", f.Name())), &said); err != nil {
		t.Fatal(err)
	}
	return said.PartitionTable.Partitions
}

// complaint is the one that e2fsck has of what tar2ext4 writes: the kernel does not look there.
var complaint = regexp.MustCompile(`Padding at end of inode bitmap is not set\. Fix\? no`)

func checkExt4(t *testing.T, root string) {
	t.Helper()
	out, _ := tool(t, "e2fsprogs", "e2fsck", "-fn", root)
	if n := strings.Count(out, "Fix?") + strings.Count(out, "Clear?") + strings.Count(out, "ignored"); n != len(complaint.FindAllString(out, -1)) {
		t.Errorf("e2fsck says more than it should:\n%s", out)
	}
	for name, wants := range map[string][]string{
		"/etc/owned":     {"Mode:  04750", "User:  1234", "Group: 70000", "Links: 2", "security.capability"},
		"/dev/null":      {"Type: character special", "01:03", "Mode:  0666"},
		"/pipe":          {"Type: FIFO"},
		"/tmp":           {"Mode:  01777"},
		"/bin":           {`Fast link dest: "usr/bin"`},
		"/usr/bin/large": {"Size: 300000", "mtime: 0x6553f100"},
		"/etc/gone":      {"not found"},
		"/var/lower":     {"not found"},
		"/var/upper":     {"Size: 5"},
	} {
		out, _ := tool(t, "e2fsprogs", "debugfs", "-R", "stat "+name, root)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("debugfs does not say %q of %s:\n%s", want, name, out)
			}
		}
	}
	if out := mustTool(t, "e2fsprogs", "debugfs", "-R", "cat /etc/same", root); !strings.Contains(out, "owned\n") {
		t.Errorf("the hard link reads %q", out)
	}
}

// goldenRoot and goldenDisk change only when every disk shall change.
const (
	goldenRoot = "42c4d67c0a5f2f9135f82bd4e6914477c695fc629d4278cde75455491c0bd43f"
	goldenDisk = "e4fdbefaa76ec981e59f9ae27992015394670dcf5baa2fca8a20a69df44507cd"
)

func TestDiskIsTheSameEverywhere(t *testing.T) {
	var digests []string
	for range 2 {
		f := newFile(t, "disk.raw")
		root, size, err := writeRoot(t.Context(), f, Request{Files: putImage(t, "amd64", layersOfAllKinds()...), Epoch: 1_700_000_000})
		if err != nil {
			t.Fatal(err)
		}
		if root.hash() != goldenRoot {
			t.Errorf("the root has the hash %s, not %s", root.hash(), goldenRoot)
		}
		if _, err := writeParts(f, root, size, []byte("kernel")); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digestOf(t, f))
	}
	if digests[0] != goldenDisk || digests[1] != goldenDisk {
		t.Errorf("disks have the digests %s, not %s", digests, goldenDisk)
	}
}

func TestDiskIsSparse(t *testing.T) {
	f, res := buildDisk(t)
	if used := allocated(t, f); used > 4<<20 || res.Size < 98<<20 {
		t.Errorf("a disk of %d bytes takes %d", res.Size, used)
	}
}

func TestRefusals(t *testing.T) {
	files := putImage(t, "amd64", layersOfAllKinds()...)
	tests := map[string]struct {
		request Request
		code    fault.Code
	}{
		"another architecture": {Request{Files: putImage(t, "arm64", layersOfAllKinds()...)}, fault.Unsupported},
		"no stub":              {Request{Files: files, Stub: []byte("MZ")}, fault.Failed},
		"a word in two":        {Request{Files: files, Stub: stub(t), Cmdline: []string{"init=/a b"}}, fault.Invalid},
		"our own words":        {Request{Files: files, Stub: stub(t), Cmdline: []string{"release.root=x"}}, fault.Invalid},
		"too many words":       {Request{Files: files, Stub: stub(t), Cmdline: []string{strings.Repeat("x", 2048)}}, fault.Invalid},
		"a volume nowhere":     {Request{Files: files, Stub: stub(t), Data: []Volume{{"x", "data"}}}, fault.Invalid},
		"a huge kernel":        {Request{Files: files, Stub: stub(t), Kernel: Kernel{Image: make([]byte, 96<<20)}}, fault.Failed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := Build(t.Context(), newFile(t, "disk.raw"), test.request); !fault.Is(err, test.code) {
				t.Errorf("the error is %v, not of the code %s", err, test.code)
			}
		})
	}
}

func TestDamagedLayerMakesNoDisk(t *testing.T) {
	files := putImage(t, "amd64", layersOfAllKinds()...)
	n, err := files.Lookup("usr/bin/large")
	if err != nil {
		t.Fatal(err)
	}
	n.Content = images.DigestOf([]byte("something else"))
	if _, err := Build(t.Context(), newFile(t, "disk.raw"), Request{Files: files, Stub: stub(t)}); !errors.Is(err, images.ErrDamaged) {
		t.Errorf("the error is %v", err)
	}
}

func TestCancelledBuildEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Build(ctx, newFile(t, "disk.raw"), Request{Files: putImage(t, "amd64", layersOfAllKinds()...), Stub: stub(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
