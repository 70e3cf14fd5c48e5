// Ours starts a fleet by the sandbox driver and prints the milliseconds until all nodes answer. It holds all that the
// agent's program holds, since each node is one more start of it.
//
//	ours IMAGES DIGEST DIR N NET     NET: own or shared
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	_ "github.com/bootandshoot/release/builder"
	_ "github.com/bootandshoot/release/console"
	"github.com/bootandshoot/release/fleet"
	_ "github.com/bootandshoot/release/fleet/docker"
	driver "github.com/bootandshoot/release/fleet/sandbox"
	"github.com/bootandshoot/release/images"
	_ "github.com/bootandshoot/release/orchestrator"
	_ "github.com/bootandshoot/release/router/embedded"
	"github.com/bootandshoot/release/sandbox"
	_ "github.com/bootandshoot/release/store/embedded"
	"github.com/bootandshoot/release/test/bench/sandboxlaunch/probe"
)

func main() {
	sandbox.Main()
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ours:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	store, err := images.Open(args[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	d, err := driver.New(driver.Options{Dir: args[2], Installation: "bench", Images: store, SharedNetwork: args[4] == "shared"})
	if err != nil {
		return err
	}
	spec := fleet.Spec{Fleet: fleet.FleetID{App: "bench", Env: "bench", Role: "web", Release: "r1", Incarnation: 1},
		Installation: "bench", Kind: fleet.Serve, Image: args[1], Port: 8080}
	for i := range n {
		spec.Nodes = append(spec.Nodes, fleet.NodeSpec{Name: "bench-r1-" + strconv.Itoa(i), Slot: i})
	}
	ctx := context.Background()
	if err := d.Prepare(ctx, spec); err != nil {
		return err
	}
	took, err := launch(ctx, d, spec)
	fmt.Println(float64(took.Microseconds()) / 1000)
	if derr := d.Destroy(ctx, spec.Fleet); err == nil {
		err = derr
	}
	return err
}

// launch boots all nodes in one call, as the orchestrator does, and then asks each until it answers.
func launch(ctx context.Context, d *driver.Driver, spec fleet.Spec) (time.Duration, error) {
	start := time.Now()
	nodes, err := d.Ensure(ctx, spec)
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(nodes))
	for i, n := range nodes {
		wg.Go(func() { errs[i] = probe.Await(n.Address) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}
