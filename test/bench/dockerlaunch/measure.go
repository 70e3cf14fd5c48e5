// Package dockerlaunch measures the launch of docker nodes by the driver against a bare program that asks the engine's
// API for the same: pull the image, make a network, make and start the containers, until all answer over HTTP.
// Rounds are paired, one of each kind after the other in changing order, so that both see the same machine.
package dockerlaunch

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/docker"
	"github.com/bootandshoot/release/images"
)

// Options of a measurement.
type Options struct {
	Store    *images.Store
	Image    string // digest of an image that serves HTTP on $PORT
	Registry string // address of the store's endpoint
	Token    string
	Nodes    int
	Rounds   int
	Width    int // containers that the bare program makes at once; 0: the best of several, tried first
}

// Result is medians in seconds.
type Result struct {
	Driver, Bare   float64
	Ratio          float64 // median of the pairs' ratios
	Width          int     // of the bare program
	Drivers, Bares []float64
}

func (r Result) String() string {
	return fmt.Sprintf("driver %.2f s, bare program %.2f s (%d at once), ratio %.2f, %d rounds", r.Driver, r.Bare, r.Width, r.Ratio, len(r.Bares))
}

// Measure launches and removes everything that it makes.
func Measure(ctx context.Context, o Options) (Result, error) {
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return Result{}, fmt.Errorf("connect to docker engine: %w", err)
	}
	defer engine.Close()
	b := &bare{Options: o, engine: engine}
	if o.Width == 0 {
		if err := b.findWidth(ctx); err != nil {
			return Result{}, err
		}
	}
	r := Result{Width: b.Width}
	var ratios []float64
	for i := range o.Rounds {
		pair := map[bool]float64{}
		for _, driver := range []bool{i%2 == 0, i%2 != 0} {
			launch := b.launch
			if driver {
				launch = o.launchByDriver
			}
			took, err := launch(ctx)
			if err != nil {
				return Result{}, err
			}
			pair[driver] = took.Seconds()
		}
		r.Drivers, r.Bares = append(r.Drivers, pair[true]), append(r.Bares, pair[false])
		ratios = append(ratios, pair[true]/pair[false])
	}
	r.Driver, r.Bare, r.Ratio = median(r.Drivers), median(r.Bares), median(ratios)
	return r, nil
}

func (o Options) launchByDriver(ctx context.Context) (_ time.Duration, err error) {
	id := "bench" + strings.ToLower(rand.Text()[:8])
	d, err := docker.New(ctx, docker.Options{
		Installation: id, Images: o.Store,
		Registry: docker.Registry{Address: o.Registry, Token: func() string { return o.Token }},
	})
	if err != nil {
		return 0, err
	}
	defer d.Close()
	spec := fleet.Spec{
		Fleet: fleet.FleetID{App: "bench", Env: "bench", Role: "web", Release: "r1", Incarnation: 1}, Installation: id,
		Kind: fleet.Serve, Image: o.Image, Port: port, Resources: fleet.Resources{CPUs: 1, Memory: memory},
		Stop: fleet.Stop{Signal: "TERM", Grace: time.Second},
	}
	for i := range o.Nodes {
		spec.Nodes = append(spec.Nodes, fleet.NodeSpec{Name: fmt.Sprintf("%s-%d", id, i), Slot: i})
	}
	defer func() {
		if e := d.Destroy(context.WithoutCancel(ctx), spec.Fleet); err == nil {
			err = e
		}
	}()
	start := time.Now()
	if err := d.Prepare(ctx, spec); err != nil {
		return 0, err
	}
	nodes, err := d.Ensure(ctx, spec)
	if err != nil {
		return 0, err
	}
	addresses := make([]string, len(nodes))
	for i, n := range nodes {
		addresses[i] = n.Address
	}
	err = allAnswer(ctx, addresses)
	return time.Since(start), err
}

// allAnswer asks every node each few milliseconds until it answered once.
func allAnswer(ctx context.Context, addresses []string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	errs := make([]error, len(addresses))
	var wg sync.WaitGroup
	for i, a := range addresses {
		wg.Go(func() { errs[i] = answers(ctx, a) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func answers(ctx context.Context, address string) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		if err == nil && res.StatusCode == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", address, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
