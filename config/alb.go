package config

import (
	"regexp"
	"strings"
	"time"
)

// RouterALB is an Application Load Balancer of AWS.
const RouterALB = "alb"

// ALB is the load balancer that obeys release, where router.backend says so. It exists already, with its listeners.
type ALB struct {
	Name          string   `yaml:"name,required" json:"name" doc:"Name of the Application Load Balancer. It exists, and has a listener on each port that routes listen on."`
	Region        string   `yaml:"region,omitempty" json:"region,omitempty" doc:"Its region. Default: AWS_REGION, the profile's, or the instance's own."`
	Priority      int      `yaml:"priority" json:"priority" doc:"First of the 1,000 priorities of listener rules that are release's; others are yours." default:"1000" minimum:"1" maximum:"49000"`
	Drain         Duration `yaml:"drain" json:"drain" doc:"Deregistration delay: how long a node that leaves drains, also when it is empty, to 1h. Keep it below cutover.drain.timeout." default:"20s"`
	CheckPath     string   `yaml:"check_path" json:"check_path" doc:"Path that the balancer itself asks nodes for; an answer below 500 is healthy." default:"/"`
	HealthyWithin Duration `yaml:"healthy_within" json:"healthy_within" doc:"How long the balancer may take to find a new node healthy; then the cutover fails and users stay where they are." default:"2m"`
}

// balancerName is a name as AWS takes it.
var balancerName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$`)

func (c *checker) alb(r *AgentRouter) {
	switch {
	case r.ALB == nil && r.Backend == RouterALB:
		_ = c.fail(c.at("router", "backend"), "router.backend is alb, but router.alb is not there").WithHint("router: {backend: alb, alb: {name: NAME}} names the load balancer")
	case r.ALB != nil && r.Backend != RouterALB:
		c.fail(c.root.LocateKey("router", "alb"), "router.alb is there, but router.backend is %s", r.Backend)
	}
	if r.ALB == nil {
		return
	}
	a := r.ALB
	if a.Name != "" && !balancerName.MatchString(a.Name) {
		c.fail(c.at("router", "alb", "name"), "router.alb.name %q must be the name of a load balancer: at most 32 letters, digits and hyphens", a.Name)
	}
	if d := a.Drain.Std(); (d < time.Second || d > time.Hour) && c.decodes(new(Duration), "router", "alb", "drain") {
		c.fail(c.at("router", "alb", "drain"), "router.alb.drain %s must be from 1s to 1h", a.Drain)
	}
	if d := a.HealthyWithin.Std(); d < 10*time.Second && c.decodes(new(Duration), "router", "alb", "healthy_within") {
		c.fail(c.at("router", "alb", "healthy_within"), "router.alb.healthy_within %s must be at least 10s", a.HealthyWithin)
	}
	if !strings.HasPrefix(a.CheckPath, "/") {
		c.fail(c.at("router", "alb", "check_path"), "router.alb.check_path %q must begin with /", a.CheckPath)
	}
}
