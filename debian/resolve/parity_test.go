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
	u := a.universe(t)
	for _, extra := range [][]string{nil, {"usr-is-merged"}, {"ca-certificates", "locales"}} {
		want, err := a.simulate([]string{"--no-install-recommends"}, slices.Concat(extra, []string{"?essential", "apt", "?priority(required)"}))
		if err != nil {
			t.Fatal(err)
		}
		base, err := u.Base(extra...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, actions(u, base)); diff != "" {
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
	any        bool // sets of any packages, not of popular ones
	conflicts  bool // of any, only those that conflict with something
	without    bool // each set forbids something that it would have
}

func TestParity(t *testing.T) {
	all := newAptState(t).universe(t)
	for _, kind := range []parity{
		{name: "on a base", sets: 400, fewer: 120, seed: 4},
		{name: "whole lists", sets: 40, fewer: 2, seed: 5, whole: true},
		{name: "with recommendations", sets: 100, fewer: 15, seed: 6, recommends: true},
		{name: "on nothing", sets: 60, fewer: 10, seed: 7, noBase: true},
		{name: "of any packages", sets: 300, fewer: 15, seed: 8, any: true},
		{name: "of what conflicts", sets: 300, fewer: 15, seed: 9, any: true, conflicts: true},
		{name: "without something", sets: 100, fewer: 15, seed: 11, without: true},
	} {
		t.Run(kind.name, func(t *testing.T) { kind.run(t, all) })
	}
}

func (k parity) run(t *testing.T, all *Universe) {
	a, u := newAptState(t), all
	sets := k.draw(t, u)
	if !k.whole {
		a.reduce(t, all, slices.Concat(sets...), k.recommends)
		u = a.universe(t)
	}
	request := Request{Recommends: k.recommends}
	if !k.noBase {
		base, err := u.Base()
		if err != nil {
			t.Fatal(err)
		}
		a.install(t, base.Packages)
		request.Installed = base.Packages
	}
	if k.without {
		k.forbid(t, u, request, sets)
	}
	compareSets(t, a, u, request, sets)
}

// forbid adds to each set one of the packages that it would bring.
func (k parity) forbid(t *testing.T, u *Universe, request Request, sets [][]string) {
	random := rand.New(rand.NewPCG(k.seed, 13))
	for i, set := range sets {
		wants, err := ParseWants(set)
		if err != nil {
			t.Fatal(err)
		}
		request.Want = wants
		s, err := u.Resolve(request)
		if err != nil {
			continue
		}
		// Best something that another package can stand for.
		choices := slices.DeleteFunc(slices.Clone(s.New), func(p debian.Package) bool {
			why := s.Why[p.Name]
			return len(why) == 0 || strings.HasPrefix(why[len(why)-1].Relation, p.Name) && !strings.Contains(why[len(why)-1].Relation, "|")
		})
		if len(choices) == 0 {
			choices = s.New
		}
		name := choices[random.IntN(len(choices))].Name
		if !slices.Contains(set, name) {
			sets[i] = append(sets[i], name+"-")
		}
	}
}

func compareSets(t *testing.T, a *aptState, u *Universe, request Request, sets [][]string) {
	t.Helper()
	var counts [different + 1]atomic.Int32
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for _, set := range sets {
		group.Go(func() error {
			verdict, problem := compareWithApt(a, u, request, set)
			counts[verdict].Add(1)
			if verdict == different {
				t.Errorf("%v: %s", set, problem)
			}
			return nil
		})
	}
	_ = group.Wait()
	t.Logf("%d sets: %d the same as apt's, %d without a solution on either side, %d with less than apt's, %d different", len(sets),
		counts[same].Load(), counts[unsolved].Load(), counts[less].Load(), counts[different].Load())
	if int(counts[same].Load()) < len(sets)/10 { // what is forbidden is often needed
		t.Error("too few sets have a solution to compare")
	}
}

// verdict is how a result compares with apt's.
type verdict int

const (
	same     verdict = iota
	unsolved         // for both
	less             // apt's problem resolver left packages there that are only suggested, and not even by what is wanted
	different
)

func compareWithApt(a *aptState, u *Universe, request Request, set []string) (v verdict, problem string) {
	option := "--no-install-recommends"
	if request.Recommends {
		option = "--install-recommends"
	}
	want, aptErr := a.simulate([]string{option}, set)
	wants, err := ParseWants(set)
	if err != nil {
		return different, err.Error()
	}
	request.Want = wants
	s, err := u.Resolve(request)
	switch {
	case aptErr != nil && err != nil:
		return unsolved, ""
	case aptErr != nil:
		return different, fmt.Sprintf("apt has no solution: %v\n%v", aptErr, actions(u, s))
	case err != nil:
		return different, fmt.Sprintf("apt has a solution: %v", err)
	}
	got := actions(u, s)
	more, fewer := without(got, want), without(want, got)
	switch {
	case len(more)+len(fewer) == 0:
		return same, ""
	case s.Searched && len(got) < len(want):
		return less, ""
	}
	return different, fmt.Sprintf("searched: %v\nonly apt-get: %v\nonly Resolve: %v", s.Searched, fewer, more)
}

// without are those of a that b does not have.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(action string) bool { return slices.Contains(b, action) })
}

// draw draws sets of one to six packages, always the same for the same lists.
func (k parity) draw(t *testing.T, u *Universe) [][]string {
	t.Helper()
	names := slices.DeleteFunc(popularPackages(t), func(name string) bool { return u.groups[name] == nil })
	if k.any {
		names = names[:0]
		for _, n := range u.nodes {
			if k.conflicts && n.versions[0].Conflicts == "" {
				continue
			}
			names = append(names, n.group.name)
		}
		slices.Sort(names)
	}
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

// TestForeignParity compares for another architecture, and for two at a time.
func TestForeignParity(t *testing.T) {
	if os.Getenv("RELEASE_EXHAUSTIVE") == "" {
		t.Skip("it fetches the lists of another architecture: set RELEASE_EXHAUSTIVE=1")
	}
	for _, archs := range [][]string{{"arm64"}, {"amd64", "arm64"}} {
		t.Run(strings.Join(archs, " and "), func(t *testing.T) {
			a := fetchAptState(t, archs...)
			u := a.universe(t)
			base, err := u.Base()
			if err != nil {
				t.Fatal(err)
			}
			a.install(t, base.Packages)
			sets := parity{sets: 30, seed: 10}.draw(t, u)
			if len(archs) > 1 {
				addArchs(sets, u, archs[1])
			}
			compareSets(t, a, u, Request{Installed: base.Packages}, sets)
		})
	}
}

// addArchs asks for every other package of the sets in another architecture.
func addArchs(sets [][]string, u *Universe, arch string) {
	for _, set := range sets {
		for i, name := range set {
			if n := u.groups[name].of(arch); n != nil && i%2 == 0 && n.versions[0].Arch == arch {
				set[i] += ":" + arch
			}
		}
	}
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
