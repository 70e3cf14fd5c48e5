package console

import (
	"net/http"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/orchestrator"
)

// drift compares a node with its image now.
func (s *Server) drift(w http.ResponseWriter, r *http.Request) error {
	d, err := s.Orchestrator.Drift(r.Context(), keyOf(r), r.PathValue("node"))
	if err != nil {
		return err
	}
	return answer(w, drifted(d.Total, d.Changes, time.Time{}))
}

// driftOf is what is on record of a node, on the wire; nil for none.
func driftOf(d *orchestrator.NodeDrift) *api.Drift {
	if d == nil {
		return nil
	}
	out := drifted(d.Total, d.Changes, d.Since)
	return &out
}

func drifted(total int, changes []orchestrator.Change, since time.Time) api.Drift {
	out := api.Drift{Total: total, Since: since, Changes: []api.Change{}}
	for _, c := range changes {
		out.Changes = append(out.Changes, api.Change(c))
	}
	return out
}
