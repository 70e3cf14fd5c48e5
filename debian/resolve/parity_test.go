package resolve

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/debian"
)

func TestBaseParity(t *testing.T) {
	a := newAptState(t)
	u := New(a.packages(t), a.arch).WithSuites(a.suites())
	for _, extra := range [][]string{nil, {"usr-is-merged"}, {"ca-certificates", "locales"}} {
		want, err := a.simulate([]string{"--no-install-recommends"}, slices.Concat(extra, []string{"?essential", "apt", "?priority(required)"}))
		if err != nil {
			t.Fatal(err)
		}
		base, err := u.Base(extra...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, actions(base)); diff != "" {
			t.Errorf("with %v: apt-get - and Base +\n%s", extra, diff)
		}
	}
}

// parity is one way to compare with apt: sets of popular packages, on top of a base, as images have them.
type parity struct {
	name       string
	sets       int // in RELEASE_EXHAUSTIVE
	fewer      int // without
	seed       uint64
	whole      bool // apt reads whole lists, not only what can be reached
	recommends bool
	noBase     bool // nothing is installed
}

func TestParity(t *testing.T) {
	for _, kind := range []parity{
		{name: "on a base", sets: 400, fewer: 120, seed: 4},
		{name: "whole lists", sets: 40, fewer: 4, seed: 5, whole: true},
		{name: "with recommendations", sets: 100, fewer: 20, seed: 6, recommends: true},
		{name: "on nothing", sets: 60, fewer: 10, seed: 7, noBase: true},
	} {
		t.Run(kind.name, kind.run)
	}
}

func (k parity) run(t *testing.T) {
	a := newAptState(t)
	popular := popularPackages(t)
	if !k.whole {
		a.reduce(t, popular, k.recommends)
	}
	u := New(a.packages(t), a.arch).WithSuites(a.suites())
	request := Request{Recommends: k.recommends}
	if !k.noBase {
		base, err := u.Base()
		if err != nil {
			t.Fatal(err)
		}
		a.install(t, base.Packages)
		request.Installed = base.Packages
	}
	sets := k.draw(t, u, popular)
	var same, unsolved atomic.Int32
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for _, set := range sets {
		group.Go(func() error {
			problem, solved := compareWithApt(a, u, request, set)
			if problem != "" {
				t.Errorf("%v: %s", set, problem)
				return nil
			}
			same.Add(1)
			if !solved {
				unsolved.Add(1)
			}
			return nil
		})
	}
	_ = group.Wait()
	t.Logf("%d of %d sets are the same as apt's, %d of them without a solution on either side", same.Load(), len(sets), unsolved.Load())
	if int(unsolved.Load()) > len(sets)/4 {
		t.Error("too few sets have a solution to compare")
	}
}

// compareWithApt is the difference between what apt-get and Resolve do, "" for none, and whether there is a solution.
func compareWithApt(a *aptState, u *Universe, request Request, set []string) (problem string, solved bool) {
	option := "--no-install-recommends"
	if request.Recommends {
		option = "--install-recommends"
	}
	want, aptErr := a.simulate([]string{option}, set)
	wants, err := ParseWants(set)
	if err != nil {
		return err.Error(), false
	}
	request.Want = wants
	s, err := u.Resolve(request)
	switch {
	case aptErr != nil && err != nil:
		return "", false
	case aptErr != nil:
		return fmt.Sprintf("apt has no solution: %v\n%v", aptErr, actions(s)), true
	case err != nil:
		return fmt.Sprintf("apt has a solution: %v", err), true
	}
	if diff := cmp.Diff(want, actions(s)); diff != "" {
		return fmt.Sprintf("apt-get - and Resolve + (searched: %v)\n%s", s.Searched, diff), true
	}
	return "", true
}

// draw draws sets of one to six popular packages, always the same.
func (k parity) draw(t *testing.T, u *Universe, popular []string) [][]string {
	t.Helper()
	names := slices.DeleteFunc(popular, func(name string) bool { return u.groups[name] == nil })
	if len(names) < 300 {
		t.Fatalf("the lists have %d of the popular packages: use those of a Debian release", len(names))
	}
	count := k.fewer
	if os.Getenv("RELEASE_EXHAUSTIVE") != "" {
		count = k.sets
	}
	random := rand.New(rand.NewPCG(k.seed, 12))
	sets := make([][]string, count)
	for i := range sets {
		for range 1 + random.IntN(6) {
			if name := names[random.IntN(len(names))]; !slices.Contains(sets[i], name) {
				sets[i] = append(sets[i], name)
			}
		}
	}
	return sets
}

func popularPackages(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/popular.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// forty are what the benchmark installs: a server with a little of everything.
var forty = strings.Fields(`nginx postgresql redis-server python3-django python3-venv gunicorn php-fpm php-mysql nodejs openjdk-17-jre-headless
	git curl wget vim tmux htop rsync openssh-server sudo cron logrotate rsyslog ca-certificates gnupg build-essential cmake
	libssl-dev libpq-dev imagemagick ffmpeg mariadb-client memcached haproxy certbot fail2ban jq zsh nftables strace unzip`)

func BenchmarkNew(b *testing.B) {
	packages := newAptState(b).packages(b)
	for b.Loop() {
		New(packages, "amd64")
	}
	b.ReportMetric(float64(len(packages)), "packages")
}

// BenchmarkResolve resolves a base and forty packages on top of it, in a universe that nobody used before.
func BenchmarkResolve(b *testing.B) {
	packages := newAptState(b).packages(b)
	count := 0
	for b.Loop() {
		b.StopTimer()
		u := New(packages, "amd64")
		b.StartTimer()
		count = len(resolveForty(b, u))
	}
	b.ReportMetric(float64(count), "packages")
}

func BenchmarkOrder(b *testing.B) {
	packages := resolveForty(b, New(newAptState(b).packages(b), "amd64"))
	for b.Loop() {
		if _, err := Order("amd64", packages, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func resolveForty(b *testing.B, u *Universe) []debian.Package {
	b.Helper()
	base, err := u.Base()
	if err != nil {
		b.Fatal(err)
	}
	wants, err := ParseWants(forty)
	if err != nil {
		b.Fatal(err)
	}
	s, err := u.Resolve(Request{Installed: base.Packages, Want: wants})
	if err != nil {
		b.Fatal(err)
	}
	return s.Packages
}
