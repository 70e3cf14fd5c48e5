package install

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/debian/archive/archivetest"
)

// differences are what a system may have otherwise than one that mmdebstrap made of the same packages.
var differences = [...]struct{ pattern, why string }{
	{"dev/**", "an image has no device nodes: whoever runs it brings them"},
	{"etc/apt/sources.list", "what a system installs from is the recipe's business"},
	{"etc/shells", "the same lines in another order: update-shells ran once for all shells"},
	{"etc/hostname", "mmdebstrap copies this machine's"},
	{"etc/resolv.conf", "mmdebstrap copies this machine's"},
	{"etc/fstab", "mmdebstrap writes an empty one"},
	{"var/cache/apt/**", "apt's own, of its downloads"},
	{"var/cache/debconf/*-old", "left out: a copy of the state before"},
	{"var/lib/apt/**", "apt's own, of its downloads"},
	{"var/lib/dpkg/*-old", "left out: a copy of the state before"},
	{"var/lib/dpkg/lock*", "left out: dpkg makes it again"},
	{"var/lib/dpkg/triggers/Lock", "left out: dpkg makes it again"},
	{"var/lib/dpkg/arch", "mmdebstrap writes it for foreign architectures, of which there are none"},
	{"var/lib/dpkg/available", "empty in both; mmdebstrap's apt may leave it out"},
}

// found is a name of a system and all that is compared of it.
type found struct{ what, sum string }

// TestLikeMmdebstrap compares a base with mmdebstrap's of the same packages, name for name.
func TestLikeMmdebstrap(t *testing.T) {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Fatal("this test compares with mmdebstrap: apt-get install mmdebstrap")
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test installs a system: run it as root")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "mmdebstrap.tar")
	suite := strings.TrimSpace(archivetest.Run(t, "", "sh", "-c", ". /etc/os-release && echo $VERSION_CODENAME"))
	cmd := exec.Command("mmdebstrap", "--variant=minbase", suite, file)
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", testEpoch), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out)
	}
	theirs, status := readTree(t, file)
	packages, err := parseStatus(status)
	if err != nil {
		t.Fatal(err)
	}
	var items []Item
	for _, p := range packages {
		items = append(items, itemOf(t, archivetest.Fetch(t, p.Name, string(p.Version), p.Arch)))
	}
	s, work := newStore(t, dir)
	layers, err := Install(t.Context(), Options{Store: s, Work: work, Arch: archivetest.Arch(), Epoch: testEpoch, Batches: [][]Item{items}})
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, l := range layers {
		files = append(files, filepath.Join(s.Dir(), "blobs", "sha256", l.Digest.Hex()))
	}
	ours, ourStatus := readTree(t, files...)
	compareTrees(t, ours, theirs)
	compareStatus(t, ourStatus, status)
}

func compareTrees(t *testing.T, ours, theirs map[string]found) {
	t.Helper()
	names := maps.Clone(ours)
	maps.Copy(names, theirs)
	used := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if ours[name] == theirs[name] {
			continue
		}
		i := slices.IndexFunc(differences[:], func(d struct{ pattern, why string }) bool { return matches(d.pattern, name) })
		if i < 0 {
			t.Errorf("/%s: %v, mmdebstrap's: %v", name, ours[name], theirs[name])
			continue
		}
		used[differences[i].pattern] = true
	}
	for _, d := range differences {
		if !used[d.pattern] {
			t.Logf("no difference at %s any more", d.pattern)
		}
	}
}

// compareStatus compares what dpkg says of each package.
func compareStatus(t *testing.T, ours, theirs string) {
	t.Helper()
	fields := func(text string) map[string]string {
		list, err := debian.ParseParagraphs("status", text)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for _, p := range list {
			for _, f := range p.Fields {
				all[p.Get("Package")+" "+f.Name] = f.Value
			}
		}
		return all
	}
	a, b := fields(ours), fields(theirs)
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if a[key] != b[key] {
			t.Errorf("status: %s: %q, mmdebstrap's: %q", key, a[key], b[key])
		}
	}
}

// readTree flattens layers, lowest first, and gives dpkg's status file besides.
func readTree(t *testing.T, files ...string) (map[string]found, string) {
	t.Helper()
	tree, status := map[string]found{}, ""
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		sums := map[string]string{}
		for tr := tar.NewReader(f); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			name := path.Clean(h.Name)
			if base, ok := strings.CutPrefix(path.Base(name), ".wh."); ok {
				gone := path.Join(path.Dir(name), base)
				maps.DeleteFunc(tree, func(n string, _ found) bool { return n == gone || strings.HasPrefix(n, gone+"/") })
				continue
			}
			data, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			if name == statusFile {
				status = string(data)
				continue
			}
			sums[name] = fmt.Sprintf("%x", sha256.Sum256(data))[:16]
			e := found{what: fmt.Sprintf("%c %o %d:%d %d,%d %s %v", h.Typeflag, h.Mode&0o7777, h.Uid, h.Gid, h.Devmajor, h.Devminor, h.Linkname, h.PAXRecords["SCHILY.xattr.security.capability"])}
			if h.Typeflag == tar.TypeReg {
				e.sum = sums[name]
			}
			if h.Typeflag == tar.TypeLink {
				// Which of the names is the file is the tar's choice.
				target := path.Clean(h.Linkname)
				e = tree[target]
			}
			if name != "." {
				tree[name] = e
			}
		}
	}
	return tree, status
}
