package config

import (
	"math"
	"regexp"
	"strings"
)

// DriverEC2 is the driver of instances of Amazon EC2.
const DriverEC2 = "ec2"

// EC2 says where, and as what, the instances of a fleet run.
type EC2 struct {
	Types          []string `yaml:"types,omitempty,flow" json:"types,omitempty" doc:"Instance types in order of preference; the next one is taken where AWS has none left." pattern:"^[a-z0-9-]+\\.[a-z0-9-]+$"`
	Subnets        []string `yaml:"subnets,omitempty,flow" json:"subnets,omitempty" doc:"Subnets by id; nodes are spread over them. Default: ec2.subnets of agent.yaml, else those of the account's default network." pattern:"^subnet-[0-9a-f]+$"`
	SecurityGroups []string `yaml:"security_groups,omitempty,flow" json:"security_groups,omitempty" doc:"Security groups by id; one must let the agent and the routers in. Default: ec2.security_groups of agent.yaml, else the network's own." pattern:"^sg-[0-9a-f]+$"`
	Profile        string   `yaml:"profile,omitempty" json:"profile,omitempty" doc:"Name of the instance profile of the nodes. Default: none." pattern:"^[A-Za-z0-9+=,.@_-]{1,128}$"`
	Spot           Percent  `yaml:"spot,omitempty" json:"spot,omitempty" doc:"Share of the nodes that are spot instances, where there are any. Default: none."`
}

// SpotPercent is the share of spot instances, whole percent.
func (e EC2) SpotPercent() int { return int(math.Round(float64(e.Spot))) }

// AgentEC2 is what holds for all fleets of an account.
type AgentEC2 struct {
	Region         string   `yaml:"region,omitempty" json:"region,omitempty" doc:"Region of the fleets. Default: AWS_REGION, the profile's, or the one that the agent's own instance is in." pattern:"^[a-z]{2,}(-[a-z0-9]+)+$"`
	Endpoint       string   `yaml:"endpoint,omitempty" json:"endpoint,omitempty" doc:"Address of another endpoint than AWS's own, for every service. Default: AWS_ENDPOINT_URL." pattern:"^https?://"`
	Subnets        []string `yaml:"subnets,omitempty,flow" json:"subnets,omitempty" doc:"Subnets of fleets that name none." pattern:"^subnet-[0-9a-f]+$"`
	SecurityGroups []string `yaml:"security_groups,omitempty,flow" json:"security_groups,omitempty" doc:"Security groups of fleets that name none." pattern:"^sg-[0-9a-f]+$"`
	Encrypt        bool     `yaml:"encrypt,omitempty" json:"encrypt,omitempty" doc:"Encrypt the snapshots of images, and so the disks of nodes." default:"false"`
	Key            string   `yaml:"key,omitempty" json:"key,omitempty" doc:"ARN of the KMS key. Default: the account's own for EBS." pattern:"^arn:[a-z-]+:kms:.+$"`
	CopyTo         []string `yaml:"copy_to,omitempty,flow" json:"copy_to,omitempty" doc:"Regions that each image is copied to as well." pattern:"^[a-z]{2,}(-[a-z0-9]+)+$"`
	ShareWith      []string `yaml:"share_with,omitempty,flow" json:"share_with,omitempty" doc:"Accounts, by number and in quotes, that may launch each image." pattern:"^[0-9]{12}$"`
}

// instances checks a fleet whose nodes are instances of EC2, and finds what such cannot have.
func (c *checker) instances(f *Fleet) {
	if f.Driver != DriverEC2 {
		if c.has("fleet", "ec2") && !c.has("fleet", "driver") {
			_ = c.fail(c.root.LocateKey("fleet", "ec2"), "fleet.ec2 is there, but fleet.driver is not").WithHint("driver: ec2")
		}
		return
	}
	if len(f.EC2.Types) == 0 && c.decodes(new(Fleet), "fleet") {
		_ = c.fail(c.at("fleet", "ec2", "types"), "fleet.ec2.types is missing: driver ec2 launches instances of a type").
			WithHint("ec2: {types: [t3.small, t3a.small]}")
	}
	if f.Resources != (Resources{}) {
		_ = c.fail(c.root.LocateKey("fleet", "resources"), "fleet.resources: the size of an instance is its type").WithHint("choose fleet.ec2.types, and leave resources to environments with another driver")
	}
	if len(f.Volumes) > 0 {
		_ = c.fail(c.root.LocateKey("fleet", "volumes"), "fleet.volumes: instances of EC2 have no volumes of ours").WithHint("keep data outside of the nodes, or use another driver")
	}
	if c.has("fleet", "ec2", "spot") && f.EC2.Spot != Percent(f.EC2.SpotPercent()) {
		c.fail(c.at("fleet", "ec2", "spot"), "fleet.ec2.spot %s must be whole percent", f.EC2.Spot)
	}
	c.each(f.EC2.Types, typeForm, "fleet.ec2.types", "fleet", "ec2", "types")
	c.each(f.EC2.Subnets, subnetForm, "fleet.ec2.subnets", "fleet", "ec2", "subnets")
	c.each(f.EC2.SecurityGroups, groupForm, "fleet.ec2.security_groups", "fleet", "ec2", "security_groups")
	c.one(f.EC2.Profile, profileForm, "fleet.ec2.profile", "fleet", "ec2", "profile")
}

// onInstances finds what an app asks for that nodes on EC2 cannot do. EC2 does not tell how a system ended.
func (c *checker) onInstances(a *App) {
	if len(c.errs) > 0 {
		return // roles that need each other have no order, and no main one
	}
	for _, name := range a.RoleNames() {
		role := a.Role(name)
		if role.Fleet.Driver != DriverEC2 {
			continue
		}
		if len(role.Command) > 0 {
			_ = c.fail(c.root.LocateKey("roles", name, "cmd"), "roles.%s.cmd: an instance runs its image's services, not another command", name).
				WithHint("make it a service of a recipe of the role's own")
		}
		if name != a.MainRole() {
			continue
		}
		for _, key := range []string{"jobs", "migrations"} {
			if c.has(key) {
				_ = c.fail(c.root.LocateKey(key), "%s: on EC2 nobody learns how a command ended", key).WithHint("run it by a hook, on the agent's machine")
			}
		}
	}
}

// form is what a value looks like.
type form struct {
	pattern *regexp.Regexp
	like    string
}

var (
	typeForm     = form{regexp.MustCompile(`^[a-z0-9-]+\.[a-z0-9-]+$`), "an instance type such as t3.small"}
	subnetForm   = form{regexp.MustCompile(`^subnet-[0-9a-f]+$`), "the id of a subnet, such as subnet-0a1b2c3d"}
	groupForm    = form{regexp.MustCompile(`^sg-[0-9a-f]+$`), "the id of a security group, such as sg-0a1b2c3d"}
	profileForm  = form{regexp.MustCompile(`^[A-Za-z0-9+=,.@_-]{1,128}$`), "the name of an instance profile, not its ARN"}
	regionForm   = form{regexp.MustCompile(`^[a-z]{2,}(-[a-z0-9]+)+$`), "a region such as eu-central-1"}
	endpointForm = form{regexp.MustCompile(`^https?://[^/]`), "an address such as http://127.0.0.1:4566"}
	keyForm      = form{regexp.MustCompile(`^arn:[a-z-]+:kms:.+$`), "the ARN of a KMS key"}
	accountForm  = form{regexp.MustCompile(`^[0-9]{12}$`), "the number of an account, 12 digits"}
)

// one checks a value at a place of the file.
func (c *checker) one(v string, f form, name string, at ...any) {
	if v != "" && !f.pattern.MatchString(v) {
		c.fail(c.at(at...), "%s %q must be %s", name, v, f.like)
	}
}

// each checks a list at a place of the file, in which nothing is twice.
func (c *checker) each(list []string, f form, name string, at ...any) {
	seen := map[string]bool{}
	for i, v := range list {
		pos := c.at(append(append([]any{}, at...), i)...)
		if !f.pattern.MatchString(v) {
			c.fail(pos, "%s %q must be %s", indexed(name, i), v, f.like)
		} else if seen[v] {
			c.fail(pos, "%s %q is given twice", indexed(name, i), v)
		}
		seen[v] = true
	}
}

// ec2 checks what holds for all fleets of an account.
func (c *checker) ec2(e *AgentEC2) {
	if e.Key != "" && !e.Encrypt {
		_ = c.fail(c.root.LocateKey("ec2", "key"), "ec2.key is there, but ec2.encrypt is not").WithHint("encrypt: true")
	}
	c.one(e.Region, regionForm, "ec2.region", "ec2", "region")
	c.one(e.Endpoint, endpointForm, "ec2.endpoint", "ec2", "endpoint")
	c.one(e.Key, keyForm, "ec2.key", "ec2", "key")
	c.each(e.Subnets, subnetForm, "ec2.subnets", "ec2", "subnets")
	c.each(e.SecurityGroups, groupForm, "ec2.security_groups", "ec2", "security_groups")
	c.each(e.CopyTo, regionForm, "ec2.copy_to", "ec2", "copy_to")
	c.each(e.ShareWith, accountForm, "ec2.share_with", "ec2", "share_with")
	for i, region := range e.CopyTo {
		if strings.EqualFold(region, e.Region) {
			c.fail(c.at("ec2", "copy_to", i), "ec2.copy_to[%d] is ec2.region, where the image is anyway", i)
		}
	}
}
