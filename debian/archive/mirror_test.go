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
	c, sources := realMirrors(t)
	c.packings = []string{".gz", ".xz"} // a large index packed with xz takes half a minute with the race detector
	for _, arch := range []string{"amd64", "arm64"} {
		x, err := c.Update(t.Context(), sources, arch)
		if err != nil {
			t.Fatalf("the mirrors of this machine must answer: %v", err)
		}
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

func TestRealMirrorsWithXZ(t *testing.T) {
	c, sources := realMirrors(t)
	x, err := c.Update(t.Context(), sources[1:], "amd64")
	if err != nil {
		t.Fatalf("the mirrors of this machine must answer: %v", err)
	}
	y, err := c.Update(t.Context(), sources[1:], "amd64")
	if err != nil || len(x.Packages) == 0 || !slices.Equal(x.Packages, y.Packages) {
		t.Errorf("%d packages, then %d: %v", len(x.Packages), len(y.Packages), err)
	}
}

func realMirrors(t testing.TB) (*Client, []Source) {
	t.Helper()
	sources, err := MachineSources("/", "bookworm", os.Getenv(MirrorVariable), nil)
	if err != nil {
		t.Fatalf("this test needs a mirror of Debian and its keyring: %v", err)
	}
	c, err := New(Options{Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, sources
}

// BenchmarkUpdate measures an update of three suites from the machine's mirrors, with nothing cached and with everything.
func BenchmarkUpdate(b *testing.B) {
	for b.Loop() {
		c, sources := realMirrors(b)
		for _, how := range []string{"cold", "warm"} {
			start := time.Now()
			if _, err := c.Update(b.Context(), sources, "amd64"); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(time.Since(start).Milliseconds()), how+"-ms")
		}
	}
}

// checkRelations reads every relation field there is.
func checkRelations(t *testing.T, x *Index) {
	t.Helper()
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
