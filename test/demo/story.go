package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/pause"
	"github.com/bootandshoot/release/test/load"
)

const (
	rate    = 250              // requests a second
	longest = 80 * time.Second // of load, should something hang
	watch   = 4 * time.Second  // how long each split is looked at
	heals   = 30 * time.Second // for a killed node to be made up for
	every   = 100 * time.Millisecond
)

// demo is the story with what it found.
type demo struct {
	in    *installation
	show  *show
	facts *facts

	mu     sync.Mutex
	counts load.Counts // so far
}

func (d *demo) run(ctx context.Context) error {
	v1, err := d.bake(ctx, "v1")
	if err != nil {
		return err
	}
	v2, err := d.bake(ctx, "v2")
	if err != nil {
		return err
	}
	var r api.OperationResult
	if err := d.step(ctx, fmt.Sprintf("up v1: boot %d nodes, prove them healthy, route to them", nodes), &r, "up", v1); err != nil {
		return err
	}
	d.facts.add("launch of %d nodes to all healthy and routed", "%.2f s", nodes, r.Seconds)
	return d.underLoad(ctx, func(ctx context.Context) error { return d.underWay(ctx, v2) })
}

// bake builds and bakes a version twice: the second time nothing is left to do.
func (d *demo) bake(ctx context.Context, version string) (string, error) {
	d.show.doing("build hello " + version)
	if err := d.in.buildHello(ctx, version); err != nil {
		return "", err
	}
	var first, again api.BakeResult
	if err := d.step(ctx, "bake "+version, &first, "bake"); err != nil {
		return "", err
	}
	if err := d.in.run(ctx, &again, "bake"); err != nil {
		return "", err
	}
	if again.Image != first.Image || !again.Cached {
		return "", fmt.Errorf("the second bake of %s gave %s, cached %t, after %s", version, again.Image, again.Cached, first.Image)
	}
	d.facts.add("bake of %s, and again with nothing changed", "%.0f ms, %.0f ms", version, 1000*first.Seconds, 1000*again.Seconds)
	return first.Image, nil
}

// underWay is the part of the story that users' requests go through.
func (d *demo) underWay(ctx context.Context, v2 string) error {
	var r api.OperationResult
	if err := d.step(ctx, "launch v2: a fresh fleet, healthy, without traffic", &r, "launch", v2); err != nil {
		return err
	}
	d.facts.add("launch of the second fleet under load", "%.2f s", r.Seconds)
	for _, percent := range []int{10, 50, 100} {
		if err := d.cutover(ctx, percent); err != nil {
			return err
		}
	}
	if err := d.kill(ctx); err != nil {
		return err
	}
	if err := d.step(ctx, "rollback to v1, which is still warm", &r, "rollback"); err != nil {
		return err
	}
	d.facts.add("rollback, as a whole command's operation", "%.0f ms", 1000*r.Seconds)
	return d.look(ctx, "v1", 100)
}

func (d *demo) cutover(ctx context.Context, percent int) error {
	var r api.OperationResult
	args := []string{"cutover", "--percent", fmt.Sprint(percent)}
	if err := d.step(ctx, fmt.Sprintf("cutover to %d %%", percent), &r, args...); err != nil {
		return err
	}
	return d.look(ctx, "v2", percent)
}

// look watches a split for a while and notes the share that a version really answered.
func (d *demo) look(ctx context.Context, version string, percent int) error {
	if err := pause.For(ctx, 2*every); err != nil { // answers to earlier requests are counted by then
		return err
	}
	before := d.now()
	if err := pause.For(ctx, watch); err != nil {
		return err
	}
	after := d.now()
	answered, ok := after.ByRelease[version]-before.ByRelease[version], after.OK-before.OK
	share := 100 * float64(answered) / float64(max(ok, 1))
	d.facts.add("share of %s when asked for %d %%", "%.1f %% of %d requests", version, percent, share, ok)
	return nil
}

func (d *demo) now() load.Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts
}

// kill ends a serving node with SIGKILL and waits until a new one has taken its place.
func (d *demo) kill(ctx context.Context) error {
	serving, err := d.serving(ctx)
	if err != nil {
		return err
	}
	if len(serving) != nodes {
		return fmt.Errorf("%d nodes serve, want %d", len(serving), nodes)
	}
	victim := serving[0]
	d.show.doing(fmt.Sprintf("kill -9 %d: node %s", victim.PID, victim.ID))
	killed := time.Now()
	if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill node %s: %w", victim.ID, err)
	}
	d.facts.killed = killed
	for time.Since(killed) < heals {
		serving, err := d.serving(ctx)
		if err != nil {
			return err
		}
		if len(serving) == nodes && !has(serving, victim.ID) {
			d.facts.add("killed node replaced by a healthy one", "%.2f s", time.Since(killed).Seconds())
			return nil
		}
	}
	return errors.New("the killed node was not replaced")
}

func has(list []api.Node, id string) bool {
	for _, n := range list {
		if n.ID == id {
			return true
		}
	}
	return false
}

// serving are the healthy nodes of the fleet that has traffic.
func (d *demo) serving(ctx context.Context) ([]api.Node, error) {
	var s api.StatusResult
	if err := d.in.run(ctx, &s, "status"); err != nil {
		return nil, err
	}
	var list []api.Node
	for _, fl := range s.Fleets {
		for _, n := range fl.Nodes {
			if fl.State == "serving" && n.State == "healthy" {
				list = append(list, n)
			}
		}
	}
	return list, nil
}

// step shows what is done, does it, and shows how long it took.
func (d *demo) step(ctx context.Context, what string, result any, args ...string) error {
	d.show.doing(what)
	return d.in.run(ctx, result, args...)
}

// underLoad sends requests while the story goes on.
func (d *demo) underLoad(ctx context.Context, story func(context.Context) error) error {
	d.show.doing(fmt.Sprintf("%d requests a second from here on, at http://%s/", rate, d.in.listen))
	var told error
	report, err := load.During(ctx, load.Options{
		URL: "http://" + d.in.listen + "/", Rate: rate, Duration: longest, ProgressEvery: every,
		Progress: func(c load.Counts) {
			d.mu.Lock()
			d.counts = c
			d.mu.Unlock()
			d.show.counts(c)
		},
	}, func() { told = story(ctx) })
	d.facts.report = report
	return errors.Join(told, err)
}
