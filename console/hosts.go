package console

import (
	"net/http"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator"
)

func (s *Server) hosts(w http.ResponseWriter, r *http.Request) error {
	out := api.Hosts{Hosts: []api.Host{}}
	if s.Hosts == nil {
		return answer(w, out)
	}
	list, err := s.Hosts(r.Context())
	if err != nil {
		return err
	}
	for _, h := range list {
		out.Hosts = append(out.Hosts, hostOf(h))
	}
	return answer(w, out)
}

func hostOf(h orchestrator.HostStatus) api.Host {
	out := api.Host{Name: h.Name, Where: h.Where, State: api.HostAnswers, Drained: h.Drained, By: h.By, At: h.At, Since: h.Away, Why: h.Why, Nodes: []api.HostNode{}}
	if !h.Away.IsZero() {
		out.State = api.HostAway
	}
	for _, n := range h.Nodes {
		out.Nodes = append(out.Nodes, api.HostNode{App: n.App.App, Env: n.App.Env, Role: n.Role, Node: n.Node, State: string(n.State)})
	}
	return out
}

func (s *Server) drainHost(w http.ResponseWriter, r *http.Request) error {
	var in api.DrainHost
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if s.DrainHost == nil {
		return fault.New(fault.Unsupported, "drain host %s: this agent knows of no other machine than its own", in.Host)
	}
	if err := s.DrainHost(r.Context(), in); err != nil {
		return err
	}
	return answer(w, struct{}{})
}
