package archive

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/bootandshoot/release/debian"
)

// TestRealMirrors reads a Debian release from the mirrors that this machine uses, for two architectures.
func TestRealMirrors(t *testing.T) {
	sources, err := MachineSources("/", "bookworm", os.Getenv(MirrorVariable), nil)
	if err != nil {
		t.Fatalf("this test needs a mirror of Debian and its keyring: %v", err)
	}
	c, err := New(Options{Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, arch := range []string{"amd64", "arm64"} {
		x := timedUpdate(t, c, sources, arch, "cold")
		timedUpdate(t, c, sources, arch, "warm")
		for i, want := range []string{"bookworm", "bookworm-updates", "bookworm-security"} {
			if s := x.Suites[i]; s.Codename != want || s.Origin != "Debian" || len(s.Signers) == 0 || s.Security != (i == 2) {
				t.Errorf("%+v", s)
			}
		}
		if len(x.Packages) < 50000 {
			t.Errorf("only %d packages for %s", len(x.Packages), arch)
		}
		if bad := slices.IndexFunc(x.Packages, func(p debian.Package) bool { return p.Arch != arch && p.Arch != "all" || p.Size == 0 }); bad >= 0 {
			t.Errorf("%+v", x.Packages[bad])
		}
		checkRelations(t, x)
		fetchReal(t, c, x, "hostname", "base-passwd")
	}
}

func timedUpdate(t *testing.T, c *Client, sources []Source, arch, how string) *Index {
	t.Helper()
	start := time.Now()
	x, err := c.Update(t.Context(), sources, arch)
	if err != nil {
		t.Fatalf("the mirrors of this machine must answer: %v", err)
	}
	t.Logf("%s update for %s: %d packages in %s", how, arch, len(x.Packages), time.Since(start).Round(time.Millisecond))
	return x
}

// checkRelations reads every relation field there is.
func checkRelations(t *testing.T, x *Index) {
	t.Helper()
	start := time.Now()
	for _, p := range x.Packages {
		for _, field := range []string{p.PreDepends, p.Depends, p.Recommends, p.Conflicts, p.Breaks, p.Replaces} {
			if _, err := debian.ParseRelations(field); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
		}
		if _, err := debian.ParseProvides(p.Provides); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
	t.Logf("all relations in %s", time.Since(start).Round(time.Millisecond))
}

func fetchReal(t *testing.T, c *Client, x *Index, names ...string) {
	t.Helper()
	var wanted []Download
	for _, name := range names {
		i := slices.IndexFunc(x.Packages, func(p debian.Package) bool { return p.Name == name })
		if i < 0 {
			t.Fatalf("no package %s", name)
		}
		d, err := x.Download(x.Packages[i])
		if err != nil {
			t.Fatal(err)
		}
		wanted = append(wanted, d)
	}
	paths, err := c.Fetch(t.Context(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil || sum(data) != wanted[i].SHA256 || string(data[:8]) != "!<arch>\n" {
			t.Errorf("%s is no such package: %v", path, err)
		}
	}
}
