package debian

import (
	"bytes"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCompareVersions(t *testing.T) {
	// Each is older than the next.
	order := []Version{"~~", "~~a", "~", "0~1", "0", "1~~", "1~rc1", "1~rc1+b1", "1", "1a", "1a1", "1+b1", "1.0", "1.1~1", "1.1-0~1", "1.1-1",
		"1.1-1+b1", "1.1-1.1", "1.1-2", "1.1-10", "1.2", "1.10", "2:0~", "2:0", "10:0"}
	for i, a := range order {
		for j, b := range order {
			if got, want := sign(a.Compare(b)), sign(i-j); got != want {
				t.Errorf("%q to %q: %d, want %d", a, b, got, want)
			}
		}
	}
	for _, pair := range [][2]Version{{"1.0", "1.00"}, {"0:1", "1"}, {"1-0", "1"}, {"1.a0", "1.a"}, {"00:1", "1"}} {
		if c := pair[0].Compare(pair[1]); c != 0 {
			t.Errorf("%q to %q: %d, want 0", pair[0], pair[1], c)
		}
	}
}

func TestValidVersions(t *testing.T) {
	for _, v := range []Version{"1", "1:2.3-4", "2.6.32-5+b1~bpo60+1", "0", "1:1:2", "1-2-3", "2147483647:1"} {
		if err := v.Valid(); err != nil {
			t.Errorf("%q: %v", v, err)
		}
	}
	for _, v := range []Version{"", "1 2", "a", "-1", "1-", ":1", "x:1", "1:", "2147483648:1", "1_2", "1-2:3", "1-a_b", "1é", "1:-1", "99999999999999999999:1"} {
		if err := v.Valid(); err == nil {
			t.Errorf("%q is taken", v)
		}
	}
}

// anyVersion draws versions that are likely to be close to each other.
func anyVersion() *rapid.Generator[Version] {
	return rapid.Custom(func(t *rapid.T) Version {
		return Version(rapid.StringMatching(`([0-2]{1,2}:)?[0-2]{1,2}([ab.+~-]?[0-2]{0,2}){0,3}(-[0-2a~+.]{1,3})?`).Draw(t, "version"))
	})
}

func TestVersionsAreInTotalOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := anyVersion().Draw(t, "a"), anyVersion().Draw(t, "b"), anyVersion().Draw(t, "c")
		checkOrder(t, a, b, c)
	})
}

type errorer interface{ Errorf(string, ...any) }

func checkOrder(t errorer, a, b, c Version) {
	if a.Compare(a) != 0 {
		t.Errorf("%q differs from itself", a)
	}
	if sign(a.Compare(b)) != -sign(b.Compare(a)) {
		t.Errorf("%q and %q have two orders", a, b)
	}
	if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
		t.Errorf("%q, %q, %q go in a circle", a, b, c)
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func FuzzVersions(f *testing.F) {
	f.Add("1.0-1", "1:1.0~rc1", "1.0-1+b1")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		checkOrder(t, Version(a), Version(b), Version(c))
		_ = Version(a).Valid()
	})
}

// TestVersionsLikeDpkg asks dpkg about every pair of real and odd versions, in one shell.
func TestVersionsLikeDpkg(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Fatalf("dpkg is the judge of this test: apt-get install dpkg (%v)", err)
	}
	pairs := dpkgPairs(t)
	var script bytes.Buffer
	for _, p := range pairs {
		a, b := "'"+string(p[0])+"'", "'"+string(p[1])+"'"
		script.WriteString("dpkg --compare-versions " + a + " lt " + b + " && echo -1 || { dpkg --compare-versions " + a + " eq " + b + " && echo 0 || echo 1; }\n")
	}
	cmd := exec.CommandContext(t.Context(), "sh")
	cmd.Stdin = &script
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := strings.Fields(string(out))
	if len(answers) != len(pairs) {
		t.Fatalf("%d answers to %d questions", len(answers), len(pairs))
	}
	for i, p := range pairs {
		want, err := strconv.Atoi(answers[i])
		if err != nil {
			t.Fatal(err)
		}
		if got := sign(p[0].Compare(p[1])); got != want {
			t.Errorf("%q to %q: %d, dpkg says %d", p[0], p[1], got, want)
		}
	}
}

func dpkgPairs(t *testing.T) [][2]Version {
	real := []Version{"5.2.15-2+b9", "5.2.15-2+b10", "2.36-9+deb12u10", "2.36-9+deb12u9", "1:4.13+dfsg1-1+deb12u1", "1:4.13+dfsg1-1",
		"3.0.16-1~deb12u1", "3.0.16-1", "252.38-1~deb12u1", "252.38-1~deb12u1+b1", "20230311+deb12u1", "20230311", "1.46.2-2", "1.47.0~rc1-1",
		"2.2.40-1.1", "2.2.40-1.1+b1", "6.1.137-1", "6.1.0-37", "0.9.72~dfsg-1", "9.18.33-1~deb12u2", "1:9.2p1-2+deb12u6", "7.88.1-10+deb12u12"}
	odd := []Version{"0", "00", "0~", "0~~", "1.a0", "1.a", "1.0a", "1.0+", "1.0~+", "1.0.", "1..0", "1.0-0", "1.0-0~", "1-1-1", "0:0", "0:00",
		"1:0~a", "1.0000000000000000000000000000001", "1.99999999999999999999999", "1z", "1Z", "1A", "1+a", "1.0-a", "1.0-a~"}
	var pairs [][2]Version
	for _, set := range [][]Version{real, odd} {
		for i, a := range set {
			for _, b := range set[:i] {
				pairs = append(pairs, [2]Version{a, b})
			}
		}
	}
	drawn := rapid.SliceOfN(anyVersion(), 200, 200).Example(1)
	for i := 1; i < len(drawn); i++ {
		if drawn[i].Valid() == nil && drawn[i-1].Valid() == nil {
			pairs = append(pairs, [2]Version{drawn[i], drawn[i-1]})
		}
	}
	t.Logf("%d pairs", len(pairs))
	return pairs
}
