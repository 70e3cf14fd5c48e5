package spread

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/internal/fault"
)

// over makes a driver over fakes by the names of their hosts.
func over(fakes map[string]*fleettest.Fake) *Driver {
	d := New(Options{Open: func(name, _ string) (Member, error) {
		if fakes[name] == nil {
			return nil, fault.New(fault.Invalid, "no such engine")
		}
		return fleettest.HostFake{Fake: fakes[name], ID: "id-of-" + name}, nil
	}})
	where := map[string]fleet.Engine{}
	for name := range fakes {
		where[name] = fleet.Engine{Where: "tcp://" + name}
	}
	d.Use(where)
	return d
}

const img = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

func fakes(names ...string) map[string]*fleettest.Fake {
	m := map[string]*fleettest.Fake{}
	for _, name := range names {
		m[name] = fleettest.NewFake(fleettest.FakeOptions{Host: "of-" + name})
	}
	return m
}

func spec(nodes ...fleet.NodeSpec) fleet.Spec {
	return fleet.Spec{Fleet: fleet.FleetID{App: "shop", Env: "test", Role: "web", Release: "r1", Incarnation: 1}, Installation: "test",
		Kind: fleet.Serve, Image: img, Port: 8080, Nodes: nodes}
}

func TestConformance(t *testing.T) {
	all := map[string]*fleettest.Fake{}
	for _, name := range []string{"alpha", "beta", "gamma"} {
		all[name] = fleettest.NewFake(fleettest.FakeOptions{Serve: true, Images: []string{img}})
	}
	reopened := func(installation string) map[string]*fleettest.Fake {
		m := map[string]*fleettest.Fake{}
		for name, f := range all {
			m[name] = f.Reopen(installation)
		}
		return m
	}
	fleettest.Run(t, fleettest.Harness{
		New:   func(*testing.T) fleet.Driver { return asFake(over(reopened(""))) },
		Other: func(*testing.T) fleet.Driver { return asFake(over(reopened("other"))) },
		Unavailable: func(*testing.T) fleet.Driver {
			m := fakes("alpha", "beta")
			for _, f := range m {
				f.FailAll(fleet.ErrUnavailable)
			}
			return over(m)
		},
		Installation: "test", Image: img,
	})
}

// asFake leaves out what fakes cannot do.
func asFake(d *Driver) fleet.Driver {
	return struct {
		fleet.Driver
		fleet.ProgressPreparer
		fleet.Watcher
		fleet.Logger
		fleet.Execer
		fleet.Drifter
	}{d, d, d, d, d, d}
}

// TestHostAway: what is on the other hosts is told and done, and the error says where it was not.
func TestHostAway(t *testing.T) {
	m := fakes("alpha", "beta", "gamma")
	d := over(m)
	s := spec(fleet.NodeSpec{Name: "a", Slot: 1, Host: "alpha"}, fleet.NodeSpec{Name: "b", Slot: 2, Host: "beta"})
	if _, err := d.Ensure(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	m["beta"].FailAll(fleet.ErrUnavailable)
	nodes, err := d.Nodes(t.Context(), s.Fleet)
	if len(nodes) != 1 || nodes[0].Host != "alpha" || !isAway(err, "beta") {
		t.Errorf("listed %+v, %v", nodes, err)
	}
	if err := d.Prepare(t.Context(), s); err != nil {
		t.Errorf("a host that does not answer is in the way of the others' images: %v", err)
	}
	if err := d.Remove(t.Context(), fleet.NodeID{Fleet: s.Fleet, Node: "b"}, 0); !isAway(err, "beta") {
		t.Errorf("removed from a host that does not answer: %v", err)
	}
	if err := d.Remove(t.Context(), fleet.NodeID{Fleet: s.Fleet, Node: "a"}, 0); err != nil {
		t.Errorf("remove elsewhere: %v", err)
	}
	if err := d.Destroy(t.Context(), s.Fleet); !isAway(err, "beta") {
		t.Errorf("destroy: %v", err)
	}
	if fleets, err := d.Fleets(t.Context()); len(fleets) != 0 || !isAway(err, "beta") {
		t.Errorf("fleets %v, %v", fleets, err)
	}
	for _, f := range m {
		f.FailAll(fleet.ErrUnavailable)
	}
	if err := d.Prepare(t.Context(), s); !errors.Is(err, fleet.ErrUnavailable) {
		t.Errorf("no host answers, and prepare says %v", err)
	}
}

func isAway(err error, hosts ...string) bool {
	var away *fleet.HostsAway
	return errors.As(err, &away) && slices.Equal(away.Hosts, hosts) && errors.Is(err, fleet.ErrUnavailable)
}

// TestSilentHostKeepsNobodyWaiting: one call waits, the next ones fail at once, those under way are given up, and the host is asked
// again after a while.
func TestSilentHostKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fakes("alpha", "beta")
		d := over(m)
		s := spec(fleet.NodeSpec{Name: "b", Host: "beta"})
		releasePrepare := m["beta"].Hang(fleettest.Prepare)
		defer releasePrepare()
		prepared := make(chan error, 1)
		go func() { prepared <- d.Prepare(t.Context(), s) }()
		synctest.Wait()
		release := m["beta"].Hang(fleettest.Fleets)
		took := func() time.Duration {
			began := time.Now()
			if hosts := d.Hosts(t.Context()); hosts[0].Err != nil || hosts[1].Err == nil {
				t.Errorf("hosts are %+v", hosts)
			}
			return time.Since(began)
		}
		if first := took(); first != answerWithin {
			t.Errorf("the first look took %s", first)
		}
		if err := <-prepared; err != nil {
			t.Errorf("the image was not prepared on the other host: %v", err)
		}
		if second := took(); second != 0 {
			t.Errorf("the second look took %s", second)
		}
		release()
		time.Sleep(retryAfter)
		m["beta"].OnCall(func(context.Context, fleettest.Call) error { // it takes its time
			time.Sleep(time.Second)
			return nil
		})
		if hosts := d.Hosts(t.Context()); hosts[1].Err != nil {
			t.Errorf("it answers again, and is said to be away: %v", hosts[1].Err)
		}
	})
}

// TestAnotherEngine: one that answers at the address of another is not asked for anything.
func TestAnotherEngine(t *testing.T) {
	m := fakes("alpha", "beta")
	d := over(m)
	if hosts := d.Hosts(t.Context()); hosts[0].ID != "id-of-alpha" || hosts[1].ID != "id-of-beta" {
		t.Fatalf("hosts are %+v", hosts)
	}
	s := spec(fleet.NodeSpec{Name: "b", Host: "beta"})
	d.Use(map[string]fleet.Engine{"alpha": {Where: "tcp://alpha", ID: "id-of-alpha"}, "beta": {Where: "tcp://beta", ID: "another"}})
	if hosts := d.Hosts(t.Context()); hosts[0].Err != nil || !errors.Is(hosts[1].Err, fleet.ErrUnavailable) || hosts[1].ID != "" {
		t.Errorf("hosts are %+v", hosts)
	}
	if _, err := d.Nodes(t.Context(), s.Fleet); !isAway(err, "beta") {
		t.Errorf("listed: %v", err)
	}
	if _, err := d.Ensure(t.Context(), s); !isAway(err, "beta") || len(m["beta"].All()) != 0 {
		t.Errorf("booted on an engine that is not meant: %v", err)
	}
}

// TestHostsChange: hosts come and go while others are used; one that cannot be opened only says so.
func TestHostsChange(t *testing.T) {
	m := fakes("alpha", "beta")
	d := over(m)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hints, err := d.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m["gamma"] = fleettest.NewFake(fleettest.FakeOptions{})
	d.Use(map[string]fleet.Engine{"alpha": {Where: "tcp://alpha"}, "gamma": {Where: "tcp://gamma"}, "broken": {Where: "tcp://broken"}})
	hosts := d.Hosts(t.Context())
	if len(hosts) != 3 || hosts[0].Name != "alpha" || hosts[0].Err != nil || hosts[1].Name != "broken" || !errors.Is(hosts[1].Err, fleet.ErrUnavailable) || hosts[2].Err != nil {
		t.Fatalf("hosts are %+v", hosts)
	}
	for i := range 100 { // until the new host is watched
		s := spec(fleet.NodeSpec{Name: fmt.Sprintf("c%d", i), Slot: i, Host: "gamma"})
		if _, err := d.Ensure(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if hinted(t, hints, s.Fleet, 50*time.Millisecond) {
			return
		}
	}
	t.Error("nodes on the new host give no hint")
}

// hinted waits for a hint, which is to be of the fleet, and says whether one came.
func hinted(t *testing.T, hints <-chan fleet.FleetID, want fleet.FleetID, within time.Duration) bool {
	t.Helper()
	select {
	case id := <-hints:
		if id != want {
			t.Errorf("hint of %s", id)
		}
		return true
	case <-time.After(within):
		return false
	}
}

// slowWatcher takes its time until it watches, and never does while stuck.
type slowWatcher struct {
	fleettest.HostFake
	stuck bool
}

func (w slowWatcher) Watch(ctx context.Context) (<-chan fleet.FleetID, error) {
	if w.stuck {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	time.Sleep(time.Second)
	return w.HostFake.Watch(ctx)
}

// TestWatchHasBegun: what happens after Watch has returned gives a hint, and a host that does not answer holds nobody up for long.
func TestWatchHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fakes("alpha", "beta")
		d := New(Options{Open: func(name, _ string) (Member, error) {
			return slowWatcher{fleettest.HostFake{Fake: m[name], ID: "id-of-" + name}, name == "beta"}, nil
		}})
		d.Use(map[string]fleet.Engine{"alpha": {Where: "tcp://alpha"}, "beta": {Where: "tcp://beta"}})
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		hints, err := d.Watch(ctx)
		if took := time.Since(began); err != nil || took < time.Second || took > watchWithin {
			t.Errorf("it watches after %s: %v", took, err)
		}
		s := spec(fleet.NodeSpec{Name: "a", Host: "alpha"})
		if _, err := d.Ensure(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if !hinted(t, hints, s.Fleet, time.Minute) {
			t.Error("no hint")
		}
		cancel()
		for range hints {
		}
	})
}

// TestProgressIsThatOfTheSlowest: it never goes back, and ends when all have the image.
func TestProgressIsThatOfTheSlowest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := map[string]*fleettest.Fake{
			"alpha": fleettest.NewFake(fleettest.FakeOptions{PrepareFor: time.Second}), "beta": fleettest.NewFake(fleettest.FakeOptions{PrepareFor: time.Minute}),
		}
		d := over(m)
		began, last := time.Now(), fleet.Progress{}
		err := d.PrepareReporting(t.Context(), spec(), func(p fleet.Progress) {
			if p.Done < last.Done || last.Total != 0 && p.Total != last.Total {
				t.Errorf("after %+v came %+v", last, p)
			}
			if p.Done == p.Total && time.Since(began) < time.Minute {
				t.Errorf("all is said to be done after %s", time.Since(began))
			}
			last = p
		})
		if err != nil || last.Done != last.Total || last.Total == 0 {
			t.Errorf("ended with %+v, %v", last, err)
		}
	})
}

// TestNoHostMayHaveNodes: that none is named is not that all are, and what is on one already is booted there.
func TestNoHostMayHaveNodes(t *testing.T) {
	m := fakes("alpha", "beta")
	d := over(m)
	s := spec(fleet.NodeSpec{Name: "a"}, fleet.NodeSpec{Name: "b", Host: "beta"})
	s.Hosts = []string{}
	if err := d.Prepare(t.Context(), s); !errors.Is(err, fleet.ErrUnavailable) {
		t.Errorf("prepare: %v", err)
	}
	nodes, err := d.Ensure(t.Context(), s)
	if !errors.Is(err, fleet.ErrUnavailable) || len(nodes) != 1 || nodes[0].Host != "beta" {
		t.Errorf("booted %+v, %v", nodes, err)
	}
	for name, f := range m {
		for _, c := range f.Calls() {
			if c.Method == fleettest.Prepare {
				t.Errorf("%s was given the image", name)
			}
		}
	}
}
