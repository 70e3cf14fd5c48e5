package console

import (
	"net/http"

	"github.com/bootandshoot/release/api"
)

func (s *Server) traffic(w http.ResponseWriter, r *http.Request) error {
	key := keyOf(r)
	if _, err := s.Orchestrator.Status(r.Context(), key); err != nil {
		return err // no such app
	}
	seen, err := s.Orchestrator.Traffic(r.Context(), key)
	if err != nil {
		return err
	}
	out := api.Traffic{At: seen.At, Edges: []api.EdgeTraffic{}}
	for _, e := range seen.Edges {
		edge := api.EdgeTraffic{Edge: e.ID, Instance: e.Instance, Routes: []api.RouteTraffic{}, Nodes: []api.NodeTraffic{}, InFlightUnknown: e.InFlightUnknown}
		for _, t := range e.Routes {
			edge.Routes = append(edge.Routes, api.RouteTraffic{
				Route: t.Route, Requests: t.Requests, Failed: t.Failed, Retried: t.Retried, NoNode: t.NoNode, Rejected: t.Rejected,
			})
		}
		for _, n := range e.Nodes {
			edge.Nodes = append(edge.Nodes, api.NodeTraffic{
				Fleet: n.Fleet, Node: n.Node, InFlight: n.InFlight, Long: n.Long, Ejected: n.Ejected, Requests: n.Requests,
				Errors: n.Status5x + n.Connect + n.Reset + n.Timeout, Latency: n.Latency.Counts,
			})
		}
		out.Edges = append(out.Edges, edge)
	}
	return answer(w, out)
}
