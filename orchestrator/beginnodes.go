package orchestrator

import (
	"cmp"
	"strings"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/internal/nodename"
)

func (r *round) beginScale(req asked) (*Operation, error) {
	if len(r.s.Fleets) == 0 {
		return nil, fault.New(fault.NotFound, "scale %s: nothing runs", r.s.Key).WithHint("launch a release first: release up")
	}
	if req.Size < 1 || req.Size > config.MaxSize {
		return nil, fault.New(fault.Invalid, "scale %s: %d is not from 1 to %d", r.s.Key, req.Size, config.MaxSize)
	}
	role, err := r.scaledRole(req)
	if err != nil {
		return nil, err
	}
	if req.Size > 1 && r.s.Config.Role(role).Fleet.OneWriter() {
		return nil, fault.New(fault.Invalid, "scale %s: nodes of %s have a volume with one writer, so there is one at a time", r.s.Key, role).
			WithHint("let all nodes have it, if the app can do that: writer: many, under another name")
	}
	r.s.setSize(role, req.Size)
	of := ""
	if len(r.s.Config.Roles) > 0 {
		of = role + " "
	}
	for _, op := range r.s.Operations {
		if op.Kind == KindScale && op.scales(role) {
			op.Size, op.By, op.Origin, op.Asked = req.Size, req.By, req.Origin, req.arguments()
			return op, nil
		}
	}
	op := r.operation(req, PhaseBoot)
	op.Size, op.Role = req.Size, role
	r.sayOp("begin", op, "scale %sto %s by %s", of, human.Count(req.Size, "node"), req.By)
	return op, nil
}

// scales says whether a scale is that of a role. One without a role is from before there were several.
func (op *Operation) scales(role string) bool { return cmp.Or(op.Role, config.DefaultRole) == role }

// scaledRole is the role that a scale means: it must be named where there are several.
func (r *round) scaledRole(req asked) (string, error) {
	names := r.s.Config.RoleNames()
	switch {
	case req.Role == "" && len(names) == 1:
		return names[0], nil
	case req.Role == "":
		return "", fault.New(fault.Invalid, "scale %s: it has the roles %s", r.s.Key, strings.Join(names, ", ")).
			WithHint("name one: release scale %s=%d", names[len(names)-1], req.Size)
	case !r.s.Config.HasRole(req.Role):
		return "", fault.New(fault.NotFound, "scale %s: there is no role %q", r.s.Key, req.Role).WithHint("it has %s", strings.Join(names, ", "))
	}
	return req.Role, nil
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
	var nodes []*Node
	var names []string
	for _, fl := range s.Fleets {
		for _, n := range fl.Nodes {
			nodes, names = append(nodes, n), append(names, n.Name)
		}
	}
	i, err := nodename.Find(s.Key.String(), name, names)
	if err != nil {
		return nil, err
	}
	return nodes[i], nil
}
