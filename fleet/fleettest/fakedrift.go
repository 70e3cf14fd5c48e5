package fleettest

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/bootandshoot/release/fleet"
)

// SetDrift makes a node differ from its image in these changes and no others.
func (f *Fake) SetDrift(node string, changes ...fleet.Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n, ok := f.nodes[node]; ok {
		n.drift = slices.Clone(changes)
	}
}

// Drift says what SetDrift, or the node's server, changed.
func (f *Fake) Drift(ctx context.Context, id fleet.NodeID, spec fleet.DriftSpec) (fleet.Drift, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail[Drift]; err != nil {
		return fleet.Drift{}, fmt.Errorf("fake %s: %w", Drift, err)
	}
	n, ok := f.nodes[id.Node]
	if !ok || n.Presence == fleet.Gone || n.installation != f.opts.Installation {
		return fleet.Drift{}, fmt.Errorf("fake: compare %s: %w", id.Node, fleet.ErrNoNode)
	}
	changes := slices.DeleteFunc(slices.Clone(n.drift), func(c fleet.Change) bool {
		return c.What == fleet.ChangedFile && spec.FileAllowed(c.Path) || c.What == fleet.ChangedProcess && spec.ProcessAllowed(c.Path)
	})
	return spec.Found(changes), ctx.Err()
}

// differ adds changes; the lock is held.
func (n *fakeNode) differ(changes ...fleet.Change) { n.drift = append(n.drift, changes...) }

// serveDrift adds what testnode does to its own root.
func (f *Fake) serveDrift(mux *http.ServeMux, n *fakeNode) {
	does := func(how string, what ...string) http.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, w := range what {
				n.differ(fleet.Change{What: w, How: how, Path: r.FormValue("path")})
			}
		}
	}
	mux.HandleFunc("/chmod", does(fleet.WasChanged, fleet.ChangedFile))
	mux.HandleFunc("/remove", does(fleet.WasRemoved, fleet.ChangedFile, fleet.ChangedProcess))
	mux.HandleFunc("/spawn", does(fleet.WasAdded, fleet.ChangedFile, fleet.ChangedProcess))
}
