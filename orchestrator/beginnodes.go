package orchestrator

import (
	"fmt"
	"strings"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

func (r *round) beginScale(req asked) (*Operation, error) {
	if len(r.s.Fleets) == 0 {
		return nil, fault.New(fault.NotFound, "scale %s: nothing runs", r.s.Key).WithHint("launch a release first: release up")
	}
	if req.Size < 1 || req.Size > config.MaxSize {
		return nil, fault.New(fault.Invalid, "scale %s: %d is not from 1 to %d", r.s.Key, req.Size, config.MaxSize)
	}
	r.s.Size = req.Size
	for _, op := range r.s.Operations {
		if op.Kind == KindScale {
			op.Size, op.By = req.Size, req.By
			return op, nil
		}
	}
	op := r.operation(req, PhaseBoot)
	op.Size = req.Size
	r.sayOp("begin", op, "scale to %s by %s", human.Count(req.Size, "node"), req.By)
	return op, nil
}

func (r *round) beginReplace(req asked) (*Operation, error) {
	var found []*Node
	for _, name := range req.Nodes {
		n, err := r.s.node(name)
		if err != nil {
			return nil, err
		}
		found = append(found, n)
	}
	op := r.operation(req, PhaseBoot)
	for _, n := range found {
		if n.State == NodeQuarantined { // it is made up for already
			r.letGo(r.s.fleetWith(n), n, "replace by "+req.By)
		}
		n.Asked = true
		op.Nodes = append(op.Nodes, n.Name)
	}
	r.sayOp("begin", op, "replace %s by %s", strings.Join(op.Nodes, ", "), req.By)
	return op, nil
}

// node finds a living node by its name or a unique part of it.
func (s *State) node(name string) (*Node, error) {
	var found []*Node
	for _, fl := range s.Fleets {
		for _, n := range fl.Nodes {
			if n.Name == name {
				return n, nil
			}
			if strings.HasPrefix(n.Name, name) || strings.HasSuffix(n.Name, "-"+name) {
				found = append(found, n)
			}
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	what := "no node"
	if len(found) > 1 {
		what = fmt.Sprintf("%d nodes", len(found))
	}
	return nil, fault.New(fault.NotFound, "%s has %s named %q", s.Key, what, name).WithHint("release status lists the nodes")
}
