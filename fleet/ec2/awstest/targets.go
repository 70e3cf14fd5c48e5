package awstest

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// target is an address, or an instance, in a group: initial, healthy or unhealthy; draining once it is to go, then gone.
type target struct {
	id      string
	port    int
	began   time.Time
	leaving time.Time // zero: it stays
	busy    int       // requests that it has
	sick    string    // why it does not answer health checks; "": it does
}

// state is the target's, with the service's reason and its description.
func (s *Server) state(g *targetGroup, t *target) (state, reason, description string) {
	now := time.Now()
	switch since := slices.MaxFunc([]time.Time{t.began, g.used}, time.Time.Compare); {
	case !t.leaving.IsZero():
		return "draining", "Target.DeregistrationInProgress", "Target deregistration is in progress"
	case g.used.IsZero():
		return "unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"
	case now.Before(since.Add(s.opts.Takes)):
		return "initial", "Elb.RegistrationInProgress", "Target registration is in progress"
	case t.sick != "":
		return "unhealthy", t.sick, "Request timed out"
	}
	return "healthy", "", ""
}

// settle lets targets go whose deregistration delay is over, which is not shorter for one that has no request, and notes since when the group is used.
func (r *region) settle(s *Server, g *targetGroup) {
	now := time.Now()
	if used := r.forwards(g.arn); used && g.used.IsZero() {
		g.used = now
	} else if !used {
		g.used = time.Time{}
	}
	delay, _ := strconv.Atoi(g.attributes["deregistration_delay.timeout_seconds"])
	most := time.Duration(delay) * time.Second
	g.targets = slices.DeleteFunc(g.targets, func(t *target) bool {
		takes := most
		if t.busy == 0 && s.opts.IdleDrain > 0 {
			takes = min(most, s.opts.IdleDrain)
		}
		return !t.leaving.IsZero() && now.After(t.leaving.Add(takes))
	})
}

// Sicken makes an address fail the health checks of all groups of the region, for a reason such as "Target.Timeout"; "" ends that.
func (s *Server) Sicken(region, id, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.region(region).balancing.groups {
		for _, t := range g.targets {
			if t.id == id {
				t.sick = reason
			}
		}
	}
}

// named reads the targets of a request. A port that is not given is the group's.
func (q *request) named(g *targetGroup) (all []*target, f *Fault) {
	q.each("Targets.member", func(p string) {
		t := &target{id: q.get(p + ".Id"), began: time.Now()}
		text := q.get(p + ".Port")
		if text == "" {
			text = g.settings["Port"]
		}
		port, err := strconv.Atoi(text)
		address, aerr := netip.ParseAddr(t.id)
		switch {
		case err != nil || port < 1 || port > 65535:
			f = elbFault("ValidationError", "Port '%s' is not valid", text)
		case g.kind == "ip" && aerr != nil, g.kind == "instance" && q.region.instances[t.id] == nil:
			f = elbFault("InvalidTarget", "The following targets are not valid: '%s'", t.id)
		case g.kind == "ip" && address.IsLoopback() && q.opts.Listen == nil:
			f = elbFault("ValidationError", "The IP address '%s' is not a valid address", t.id)
		case g.kind == "ip" && address.Is4() != (g.settings["IpAddressType"] == "ipv4"):
			f = elbFault("ValidationError", "The IP address '%s' is not an %s address", t.id, g.settings["IpAddressType"])
		}
		t.port = port
		all = append(all, t)
	})
	return all, f
}

func (g *targetGroup) target(id string, port int) *target {
	for _, t := range g.targets {
		if t.id == id && t.port == port {
			return t
		}
	}
	return nil
}

func registerTargets(q *request) (any, *Fault) {
	g, f := q.targetGroup(q.get("TargetGroupArn"))
	if f != nil {
		return nil, f
	}
	all, f := q.named(g)
	if f == nil {
		f = q.unread()
	}
	if f == nil && len(all) == 0 {
		f = elbFault("ValidationError", "Targets must be specified")
	}
	if f != nil {
		return nil, f
	}
	q.region.settle(q.Server, g)
	for _, t := range all {
		switch before := g.target(t.id, t.port); {
		case before == nil:
			g.targets = append(g.targets, t)
		case !before.leaving.IsZero():
			before.leaving, before.began = time.Time{}, t.began
		}
	}
	return struct{}{}, nil
}

func deregisterTargets(q *request) (any, *Fault) {
	g, f := q.targetGroup(q.get("TargetGroupArn"))
	if f != nil {
		return nil, f
	}
	all, f := q.named(g)
	if f == nil {
		f = q.unread()
	}
	if f != nil {
		return nil, f
	}
	for _, t := range all { // one that is not registered is none already
		if there := g.target(t.id, t.port); there != nil && there.leaving.IsZero() {
			there.leaving = time.Now()
		}
	}
	return struct{}{}, nil
}

type healthItem struct {
	ID          string `xml:"Target>Id"`
	Port        int    `xml:"Target>Port"`
	State       string `xml:"TargetHealth>State"`
	Reason      string `xml:"TargetHealth>Reason,omitempty"`
	Description string `xml:"TargetHealth>Description,omitempty"`
}

func describeTargetHealth(q *request) (any, *Fault) {
	g, f := q.targetGroup(q.get("TargetGroupArn"))
	if f != nil {
		return nil, f
	}
	wanted, f := q.named(g)
	if f == nil {
		f = q.unread()
	}
	if f != nil {
		return nil, f
	}
	q.region.settle(q.Server, g)
	found := []healthItem{}
	for _, t := range g.targets {
		if len(wanted) > 0 && !slices.ContainsFunc(wanted, func(w *target) bool { return w.id == t.id && w.port == t.port }) {
			continue
		}
		state, reason, description := q.state(g, t)
		found = append(found, healthItem{t.id, t.port, state, reason, description})
	}
	for _, w := range wanted {
		if g.target(w.id, w.port) == nil {
			found = append(found, healthItem{w.id, w.port, "unused", "Target.NotRegistered", "Target is not registered to the target group"})
		}
	}
	slices.SortFunc(found, func(a, b healthItem) int {
		return strings.Compare(a.ID+strconv.Itoa(a.Port), b.ID+strconv.Itoa(b.Port))
	})
	return struct {
		Items []healthItem `xml:"TargetHealthDescriptions>member"`
	}{found}, nil
}
