package hosts

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/docker"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/fleet/spread"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/test/engines"
)

const testnodeRecipe = `name: testnode
base: scratch
env: {IMAGE_ENV: from-image}
ports: [8080]
copy: [{from: ./testnode, to: /testnode}]
entrypoint: [/testnode]
`

// TestConformance holds the driver to the contract of all drivers, with two engines that are reached by TLS.
func TestConformance(t *testing.T) {
	net := engines.NewNetwork(t)
	list := net.Start("alpha", "beta")
	in := suite.New(t, "docker")
	image := bakeTestnode(t, in.JSON)
	store, err := images.Open(filepath.Join(in.Dir, "i"))
	if err != nil {
		t.Fatal(err)
	}
	installation := "t" + strings.ToLower(rand.Text()[:10])
	driver := func(t *testing.T, installation string, where map[string]fleet.Engine, tails fleet.Tails) fleet.Driver {
		d := spread.New(spread.Options{Open: func(_, where string) (spread.Member, error) {
			return docker.New(context.Background(), docker.Options{Installation: installation, Host: where,
				Remote: &docker.Remote{Certs: net.Certs()}, Images: store, Tails: tails, Log: slog.New(slog.DiscardHandler)})
		}})
		d.Use(where)
		t.Cleanup(func() { d.Close() })
		return d
	}
	where := map[string]fleet.Engine{"alpha": {Where: list[0].TCP()}, "beta": {Where: list[1].TCP()}}
	fleettest.Run(t, fleettest.Harness{
		New:   func(t *testing.T) fleet.Driver { return driver(t, installation, where, nil) },
		Other: func(t *testing.T) fleet.Driver { return driver(t, installation+"-other", where, nil) },
		Keeping: func(t *testing.T, kept fleet.Tails) fleet.Driver {
			return driver(t, installation, where, kept)
		},
		Unavailable: func(t *testing.T) fleet.Driver {
			return driver(t, installation, map[string]fleet.Engine{"alpha": {Where: "tcp://127.0.0.1:1"}, "beta": {Where: "tcp://127.0.0.1:2"}}, nil)
		},
		Installation: installation,
		Image:        image,
		MemoryLimits: true,
	})
}

// bakeTestnode bakes the server of the conformance suite.
func bakeTestnode(t *testing.T, run func(result any, args ...string) int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "testnode")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(dir, "testnode"), "../../fleet/fleettest/testnode")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build testnode: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "recipe.yaml"), []byte(testnodeRecipe), 0o644); err != nil {
		t.Fatal(err)
	}
	var r api.BakeResult
	if code := run(&r, "bake", filepath.Join(dir, "recipe.yaml")); code != 0 {
		t.Fatalf("bake testnode: %d, %+v", code, r.Error)
	}
	return r.Image
}
