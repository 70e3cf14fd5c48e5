package tails_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/tails"
)

func node(app string, n int) fleet.NodeID {
	return fleet.NodeID{Fleet: fleet.FleetID{App: app, Env: "production", Role: "web", Release: "r8", Incarnation: 1}, Node: fmt.Sprintf("%s-production-r8-n%d", app, n)}
}

func lines(n int, text string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "2026-01-02T03:%02d:05Z out %d %s\n", i%60, i, text)
	}
	return b.String()
}

func keep(t *testing.T, a *tails.Archive, id fleet.NodeID, text string) {
	t.Helper()
	if err := a.Keep(id, fleet.Serve, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, a *tails.Archive, id fleet.NodeID, opts fleet.LogOptions) string {
	t.Helper()
	r, err := a.Open(id.Fleet.App, id.Fleet.Env, id.Node, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func names(t *testing.T, a *tails.Archive, app string) string {
	t.Helper()
	list, err := a.List(app, "production")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, l := range list {
		all = append(all, l.ID.Node[len(l.ID.Node)-2:])
	}
	return strings.Join(all, " ")
}

func TestWhatIsKept(t *testing.T) {
	now := time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC)
	a := tails.New(tails.Options{Dir: t.TempDir(), Now: func() time.Time { return now }})
	keep(t, a, node("shop", 1), lines(50, "x"))
	if got := read(t, a, node("shop", 1), fleet.LogOptions{}); got != lines(50, "x") {
		t.Errorf("kept is %q", got)
	}
	if got := read(t, a, node("shop", 1), fleet.LogOptions{Tail: 2}); !strings.HasPrefix(got, "2026-01-02T03:48:05Z out 48 x\n") || strings.Count(got, "\n") != 2 {
		t.Errorf("the last two lines are %q", got)
	}
	if got := read(t, a, node("shop", 1), fleet.LogOptions{Since: time.Date(2026, 1, 2, 3, 47, 0, 0, time.UTC)}); strings.Count(got, "\n") != 3 {
		t.Errorf("since 3:47 there is %q", got)
	}
	list, err := a.List("shop", "production")
	if err != nil || len(list) != 1 || list[0].ID != node("shop", 1) || !list[0].At.Equal(now) || list[0].Bytes < int64(len(lines(50, "x"))) {
		t.Errorf("listed: %+v, %v", list, err)
	}
	keep(t, a, node("shop", 1), "") // removed a second time, after a crash
	if got := read(t, a, node("shop", 1), fleet.LogOptions{}); got != lines(50, "x") {
		t.Errorf("nothing replaced what was kept: %q", got)
	}
	if _, err := a.Open("shop", "production", "shop-production-r8-n9", fleet.LogOptions{}); !errors.Is(err, fleet.ErrNoNode) {
		t.Errorf("of a node that nothing is kept of: %v", err)
	}
}

// The end is kept, in whole lines, also of what could not be read whole.
func TestOnlyTheEndIsKept(t *testing.T) {
	a := tails.New(tails.Options{Dir: t.TempDir()})
	text := lines(40_000, "a line of some length")
	keep(t, a, node("shop", 1), text)
	got := read(t, a, node("shop", 1), fleet.LogOptions{})
	if len(got) > fleet.TailBytes || len(got) < fleet.TailBytes-100 || !strings.HasSuffix(text, "\n"+got) {
		t.Errorf("%d bytes are kept, from %.60q", len(got), got)
	}
	broken := io.MultiReader(strings.NewReader(lines(3, "x")), iotest.ErrReader(errors.New("the engine went away")))
	if err := a.Keep(node("shop", 2), fleet.Serve, broken); err == nil || !strings.Contains(err.Error(), "went away") {
		t.Errorf("what could not be read is no error: %v", err)
	}
	if got := read(t, a, node("shop", 2), fleet.LogOptions{}); got != lines(3, "x") {
		t.Errorf("kept of it is %q", got)
	}
}

func TestBounds(t *testing.T) {
	dir := t.TempDir()
	a := tails.New(tails.Options{Dir: dir, Nodes: 3, Total: 4 * 1000})
	age := func(app string, n int) { // files of one moment have no order
		at := time.Now().Add(time.Duration(n-100) * time.Second)
		id := node(app, n)
		if err := os.Chtimes(filepath.Join(dir, app, "production", id.Node+".log"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 5 {
		keep(t, a, node("shop", n), lines(1, strings.Repeat("x", 500)))
		age("shop", n)
	}
	if got := names(t, a, "shop"); got != "n2 n3 n4" {
		t.Errorf("of an app that may have three there are %s", got)
	}
	for n := range 3 {
		keep(t, a, node("cart", n+6), lines(1, strings.Repeat("x", 900)))
		age("cart", n+6)
	}
	if shop, cart := names(t, a, "shop"), names(t, a, "cart"); shop != "n4" && shop != "" || cart != "n6 n7 n8" {
		t.Errorf("with a bound of all there are %s and %s", shop, cart)
	}
	if err := a.Forget("cart", "production"); err != nil || names(t, a, "cart") != "" {
		t.Errorf("forgotten: %s, %v", names(t, a, "cart"), err)
	}
	if err := a.Forget("none", "production"); err != nil {
		t.Errorf("forget what is not there: %v", err)
	}
}

// A job that runs each minute does not push out what nodes said last, nor do nodes what jobs said.
func TestJobsHaveBoundsOfTheirOwn(t *testing.T) {
	dir := t.TempDir()
	a := tails.New(tails.Options{Dir: dir, Nodes: 3, Total: 9 * 1000})
	once := func(n int, bytes int) {
		t.Helper()
		id := node("shop", n)
		if err := a.Keep(id, fleet.Once, strings.NewReader(lines(1, strings.Repeat("x", bytes)))); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(n-100) * time.Second)
		if err := os.Chtimes(filepath.Join(dir, "shop", "production", id.Node+".once.log"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	keep(t, a, node("shop", 1), lines(1, "the last words of a node"))
	for n := 2; n < 9; n++ {
		once(n, 400)
	}
	if got := names(t, a, "shop"); got != "n6 n7 n8 n1" {
		t.Errorf("of an app that may have three of each there are %s", got)
	}
	once(9, 2700) // more than jobs may have together with any other
	if got := names(t, a, "shop"); got != "n9 n1" {
		t.Errorf("with a bound of all jobs there are %s", got)
	}
	if got := read(t, a, node("shop", 9), fleet.LogOptions{}); len(got) < 2700 {
		t.Errorf("of a job there is %q", got)
	}
	if err := a.Forget("shop", "production"); err != nil || names(t, a, "shop") != "" {
		t.Errorf("forgotten: %s, %v", names(t, a, "shop"), err)
	}
}

// Names come from the API: none leads out of the folder.
func TestNamesStayInside(t *testing.T) {
	a := tails.New(tails.Options{Dir: t.TempDir()})
	for _, name := range []string{"../x", "", "a/b", "."} {
		if _, err := a.Open("shop", "production", name, fleet.LogOptions{}); !errors.Is(err, fleet.ErrNoNode) {
			t.Errorf("node %q: %v", name, err)
		}
		if _, err := a.List(name, "production"); err == nil {
			t.Errorf("app %q is listed", name)
		}
		if err := a.Forget("shop", name); err == nil {
			t.Errorf("environment %q is forgotten", name)
		}
		id := node("shop", 1)
		id.Node = name
		if err := a.Keep(id, fleet.Serve, strings.NewReader("x\n")); err == nil {
			t.Errorf("node %q is kept", name)
		}
	}
}
