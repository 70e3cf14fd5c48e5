package resolve

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/debian"
)

// aptState is an apt that knows nothing of this machine but its lists.
type aptState struct {
	dir   string
	archs []string // the native one first
	lists []string // files of package lists, in apt's order
	text  []string // their content
}

// newAptState uses the lists that apt-get update left on this machine.
func newAptState(t testing.TB) *aptState {
	t.Helper()
	a := emptyAptState(t, "amd64")
	files, err := filepath.Glob("/var/lib/apt/lists/*_*")
	if err != nil || len(files) == 0 {
		t.Fatalf("this machine has no package lists: run apt-get update (%v)", err)
	}
	for _, f := range files {
		if err := os.Symlink(f, filepath.Join(a.dir, "state/lists", filepath.Base(f))); err != nil {
			t.Fatal(err)
		}
	}
	a.findLists(t)
	return a
}

// fetchAptState fetches the lists of other architectures from this machine's sources.
func fetchAptState(t testing.TB, archs ...string) *aptState {
	t.Helper()
	a := emptyAptState(t, archs...)
	if out, err := a.run("update"); err != nil {
		t.Logf("apt-get update: %v\n%s", err, out) // a source that is none of Debian's may not have the architecture
	}
	a.findLists(t)
	return a
}

func emptyAptState(t testing.TB, archs ...string) *aptState {
	t.Helper()
	for _, tool := range []string{"apt-get", "/usr/lib/apt/apt-helper"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is needed: run the tests on Debian, or in a container of it: %v", tool, err)
		}
	}
	a := &aptState{dir: t.TempDir(), archs: archs}
	for _, d := range []string{"etc/parts", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(a.dir+"/etc/apt.conf", []byte("Dir::Etc::parts \""+a.dir+"/etc/parts\";\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	a.status(t, "")
	return a
}

func (a *aptState) findLists(t testing.TB) {
	out, err := a.run("indextargets", "--format", "$(FILENAME)", "Created-By: Packages")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range strings.Fields(out) {
		text, err := exec.Command("/usr/lib/apt/apt-helper", "cat-file", f).Output()
		if err != nil || len(text) == 0 {
			continue // apt knows of a source that was never fetched
		}
		a.lists = append(a.lists, f)
		a.text = append(a.text, string(text))
	}
	if len(a.lists) == 0 {
		t.Fatal("this machine has no package lists: run apt-get update")
	}
}

// packages reads the lists.
func (a *aptState) packages(t testing.TB) []debian.Package {
	t.Helper()
	var all []debian.Package
	for i, text := range a.text {
		packages, err := debian.ParsePackages(a.lists[i], text, i)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, packages...)
	}
	return all
}

func (a *aptState) universe(t testing.TB) *Universe {
	return New(a.packages(t), a.archs[0], a.archs[1:]...).WithSuites(a.suites())
}

// suites names the lists after their files.
func (a *aptState) suites() []Suite {
	suites := make([]Suite, len(a.lists))
	for i, f := range a.lists {
		_, after, _ := strings.Cut(filepath.Base(f), "_dists_")
		suites[i].Name, suites[i].Component, _ = strings.Cut(after, "_")
		suites[i].Component, _, _ = strings.Cut(suites[i].Component, "_")
	}
	return suites
}

// reduce leaves, of the universe of its lists, only what can be reached from some names along any alternative: apt looks at
// every package of its lists at every run, which takes most of its time. Both sides see the same lists.
func (a *aptState) reduce(t testing.TB, u *Universe, names []string, recommended bool) {
	t.Helper()
	reached := map[*version]bool{}
	var queue []*version
	reach := func(versions ...*version) {
		for _, v := range versions {
			if !reached[v] {
				reached[v] = true
				queue = append(queue, v)
			}
		}
	}
	for _, n := range u.nodesByName() {
		reach(n.versions...)
	}
	for _, name := range names {
		if n := u.groups[name].of(a.archs[0]); n != nil {
			reach(n.versions...)
		}
	}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		reach(v.node.versions...)
		for _, c := range u.relations(v).clauses {
			for i := range c.any {
				if !c.negative() && (recommended || c.critical()) {
					reach(c.any[i].targets...)
				}
			}
		}
	}
	keep := map[string]bool{}
	for v := range reached {
		keep[v.Name] = true
	}
	for i, text := range a.text {
		var b strings.Builder
		for paragraph := range strings.SplitSeq(text, "\n\n") {
			name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(paragraph), "Package: "), "\n")
			if keep[name] {
				b.WriteString(strings.TrimSpace(paragraph) + "\n\n")
			}
		}
		a.text[i] = b.String()
		base := filepath.Base(a.lists[i])
		if err := os.Remove(filepath.Join(a.dir, "state/lists", base)); err != nil {
			t.Fatal(err)
		}
		plain := strings.TrimSuffix(base, filepath.Ext(base)) // a host's dots are no extension: what apt keeps compressed has one
		if strings.HasSuffix(base, "_Packages") {
			plain = base
		}
		if err := os.WriteFile(filepath.Join(a.dir, "state/lists", plain), []byte(a.text[i]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *aptState) status(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, "state/status"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// install writes a status file in which the packages are installed.
func (a *aptState) install(t testing.TB, packages []debian.Package) {
	t.Helper()
	wanted := map[string]bool{}
	for _, p := range packages {
		wanted[p.Name+" "+string(p.Version)+" "+p.Arch] = true
	}
	var b bytes.Buffer
	for i, text := range a.text {
		for r := debian.NewReader(a.lists[i], text); ; {
			p, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			key := p.Get("Package") + " " + p.Get("Version") + " " + p.Get("Architecture")
			if !wanted[key] {
				continue
			}
			delete(wanted, key)
			for _, f := range p.Fields {
				if !slices.Contains([]string{"Filename", "Size", "MD5sum", "SHA256", "Description-md5", "Tag"}, f.Name) {
					fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
				}
			}
			b.WriteString("Status: install ok installed\n\n")
		}
	}
	if len(wanted) > 0 {
		t.Fatalf("not in the lists: %v", wanted)
	}
	a.status(t, b.String())
}

func (a *aptState) run(args ...string) (string, error) {
	options := []string{
		"-o", "Dir::State=" + a.dir + "/state", "-o", "Dir::State::Lists=" + a.dir + "/state/lists",
		"-o", "Dir::State::status=" + a.dir + "/state/status", "-o", "Dir::Cache=" + a.dir + "/cache",
		"-o", "Dir::Cache::pkgcache=pkgcache.bin", "-o", "Dir::Cache::srcpkgcache=srcpkgcache.bin",
		"-o", "Dir::Etc::preferences=/dev/null", "-o", "Dir::Etc::preferencesparts=" + a.dir + "/etc/preferences.d",
		"-o", "APT::Architecture=" + a.archs[0], "-o", "Debug::NoLocking=1", "-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User=root",
	}
	for _, arch := range a.archs {
		options = append(options, "-o", "APT::Architectures::="+arch)
	}
	cmd := exec.Command("apt-get", append(options, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "APT_CONFIG="+a.dir+"/etc/apt.conf")
	out, err := cmd.Output()
	return string(out), err
}

// simulate is what apt would do: "name version" of what it installs and "-name" of what it removes, sorted.
func (a *aptState) simulate(options []string, wants []string) ([]string, error) {
	out, err := a.run(slices.Concat([]string{"-s", "-y"}, options, []string{"install"}, wants)...)
	if err != nil {
		return nil, fmt.Errorf("%w:\n%s", err, out)
	}
	var did []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		switch {
		case len(f) > 2 && f[0] == "Inst":
			version := f[2]
			if strings.HasPrefix(version, "[") {
				version = f[3]
			}
			did = append(did, strings.TrimSuffix(f[1], ":"+a.archs[0])+" "+strings.TrimPrefix(version, "("))
		case len(f) > 1 && f[0] == "Remv":
			did = append(did, "-"+f[1])
		}
	}
	slices.Sort(did)
	return did, nil
}

// actions is a solution in the words of simulate.
func actions(u *Universe, s *Solution) []string {
	var did []string
	for _, p := range s.New {
		name := p.Name
		if p.Arch != "all" && p.Arch != u.Arch() {
			name += ":" + p.Arch
		}
		did = append(did, name+" "+string(p.Version))
	}
	for _, p := range s.Removed {
		did = append(did, "-"+p.Name)
	}
	slices.Sort(did)
	return did
}
