package swarm

import (
	"net/http"
	"strings"
	"testing"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "alpha")
	t.Run("OwnEndpoint", func(t *testing.T) { testOwnEndpoint(t, w) })
	fleettest.Run(t, fleettest.Harness{
		New: func(t *testing.T) fleet.Driver { return w.driver() },
		Other: func(t *testing.T) fleet.Driver {
			return w.driver(func(o *Options) { o.Installation = w.installation + "-other" })
		},
		Keeping: func(_ *testing.T, kept fleet.Tails) fleet.Driver {
			return w.driver(func(o *Options) { o.Tails = kept })
		},
		Unavailable: func(t *testing.T) fleet.Driver {
			return w.driver(func(o *Options) { o.Managers = []string{"unix:///nonexistent/docker.sock"} })
		},
		Installation: w.installation,
		Image:        w.image,
		MemoryLimits: true,
		Closed:       true,
	})
}

// testOwnEndpoint: a Swarm of one host pulls from the agent's endpoint on its loopback, and needs no registry.
func testOwnEndpoint(t *testing.T, w *world) {
	const token = "a token"
	l, err := w.engines[0].Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: w.store.Registry(token)}
	go server.Serve(l) //nolint:errcheck // until it is closed
	defer server.Close()
	d := w.driver(func(o *Options) {
		o.Repository, o.Endpoint = "", Endpoint{Address: l.Addr().String(), Token: func() string { return token }}
	})
	spec := w.spec(900, 1)
	if err := d.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	n := launch(t, d, spec)[0]
	wrong := w.driver(func(o *Options) {
		o.Repository, o.Endpoint = "", Endpoint{Address: l.Addr().String()}
	})
	if err := wrong.Prepare(t.Context(), spec); err == nil {
		t.Error("the image is found without the token")
	}
	at, err := d.Inward(t.Context())
	if err != nil || at != w.gateway {
		t.Errorf("nodes reach this machine at %s (%v), want %s", at, err, w.gateway)
	}
	registry, _, _ := strings.Cut(w.repository, "/")
	ask(t, n, "/fetch?url=http://"+registry+"/v2/") // at that address
}
