package alb

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/bootandshoot/release/router"
)

// Status is what the balancer has of this installation.
type Status struct {
	Name      string          `json:"name"`
	DNS       string          `json:"dns"`
	Listeners []int           `json:"listeners,omitempty"` // ports
	Table     *router.Version `json:"table,omitempty"`     // that the rules obey; nil: none yet
	Rules     int             `json:"rules"`
	Groups    []GroupStatus   `json:"groups,omitempty"` // by name
}

// GroupStatus is a target group of a fleet.
type GroupStatus struct {
	Name    string `json:"name"`
	Fleet   string `json:"fleet"`
	Targets int    `json:"targets"`
	Healthy int    `json:"healthy"`
}

// Status looks, and changes nothing.
func (b *Backend) Status(ctx context.Context) (s Status, err error) {
	err = b.repeat(ctx, "look at load balancer "+b.opts.Balancer, func() error {
		v, err := b.look(ctx)
		if err != nil {
			return err
		}
		s = Status{Name: b.opts.Balancer, DNS: v.dns}
		for port := range v.listeners {
			s.Listeners = append(s.Listeners, port)
		}
		slices.Sort(s.Listeners)
		if e := v.effective(); e != (router.Version{}) {
			s.Table = &e
		}
		for _, r := range v.rules {
			if r.ours {
				s.Rules++
			}
		}
		for _, name := range sortedKeys(v.groups) {
			g := v.groups[name]
			if err := b.health(ctx, g); err != nil {
				return err
			}
			one := GroupStatus{Name: name, Fleet: g.tags[tagFleet], Targets: len(g.targets)}
			for _, h := range g.targets {
				if h.State == types.TargetHealthStateEnumHealthy {
					one.Healthy++
				}
			}
			s.Groups = append(s.Groups, one)
		}
		return nil
	})
	return s, err
}
