package orchestrator

import (
	"context"
	"slices"
	"strings"

	"github.com/bootandshoot/release/router"
)

// Reading is what the edges counted, as they said it last.
type Reading = router.Observation

// Traffic is the app's part of the newest reading of the edges; a zero time when there was none yet.
func (o *Orchestrator) Traffic(_ context.Context, key Key) (Reading, error) {
	seen := o.observed.Load()
	if seen == nil {
		return Reading{}, nil
	}
	out := Reading{At: seen.At}
	own := key.String() + "/"
	for _, edge := range seen.Edges {
		edge.Routes = slices.DeleteFunc(slices.Clone(edge.Routes), func(r router.RouteTraffic) bool { return !strings.HasPrefix(r.Route, own) })
		edge.Nodes = slices.DeleteFunc(slices.Clone(edge.Nodes), func(n router.NodeTraffic) bool { return !strings.HasPrefix(n.Fleet, own) })
		out.Edges = append(out.Edges, edge)
	}
	return out, nil
}
