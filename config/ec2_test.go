package config_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// TestInstancesOfEC2 has what is wrong with a fleet on EC2: what follows the smallest app, or a whole file, and where and what is said.
func TestInstancesOfEC2(t *testing.T) {
	const fleet = "fleet: {driver: ec2, ec2: {types: [t3.small]"
	for name, c := range map[string]struct{ src, want string }{
		"smallest":        {fleet + "}}\n", ""},
		"all":             {fleet + ", subnets: [subnet-0a, subnet-0b], security_groups: [sg-1], profile: node, spot: 50%}}\n", ""},
		"no type":         {"fleet: {driver: ec2}\n", "4:8: fleet.ec2.types is missing: driver ec2 launches instances of a type"},
		"no driver":       {"fleet: {ec2: {types: [t3.small]}}\n", "4:9: fleet.ec2 is there, but fleet.driver is not"},
		"another driver":  {"fleet: {driver: qemu, ec2: {types: [t3.small]}}\n", ""},
		"a strange type":  {"fleet: {driver: ec2, ec2: {types: [small]}}\n", "4:36: fleet.ec2.types[0] \"small\""},
		"a strange group": {fleet + ", security_groups: [default]}}\n", "fleet.ec2.security_groups[0] \"default\""},
		"twice":           {fleet + ", subnets: [subnet-0a, subnet-0a]}}\n", `fleet.ec2.subnets[1] "subnet-0a" is given twice`},
		"half a percent":  {fleet + ", spot: 0.5%}}\n", "fleet.ec2.spot 0.5% must be whole percent"},
		"resources":       {fleet + "}, resources: {cpus: 1}}\n", "fleet.resources: the size of an instance is its type"},
		"volumes":         {fleet + "}, volumes: [{name: a, path: /srv}]}\n", "fleet.volumes: instances of EC2 have no volumes of ours"},
		"jobs":            {fleet + "}}\njobs: {clean: {cmd: /clean}}\n", "5:1: jobs: on EC2 nobody learns how a command ended"},
		"a role's":        {"=app: a\nfleet: {driver: ec2}\nroles: {web: {fleet: {ec2: {types: [t3.small]}}, route: {listen: \":1\"}}}\n", ""},
		"a role's type":   {"=app: a\nfleet: {driver: ec2}\nroles: {web: {route: {listen: \":1\"}}}\n", "fleet.ec2.types is missing"},
		"a command":       {"=app: a\nroles: {web: {cmd: [/x], fleet: {driver: ec2, ec2: {types: [t3.small]}}, route: {listen: \":1\"}}}\n", "2:15: roles.web.cmd: an instance runs its image's services"},
	} {
		src := "app: a\nrecipe: recipe.yaml\nroute: {listen: \":8080\"}\n" + c.src
		if whole, ok := strings.CutPrefix(c.src, "="); ok {
			src = whole
		}
		_, err := config.Load(write(t, src), "")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestAccountOfEC2(t *testing.T) {
	got, err := config.LoadAgent(write(t, `ec2: {region: eu-central-1, endpoint: "http://127.0.0.1:4566", subnets: [subnet-0a], security_groups: [sg-1], encrypt: true,
  key: "arn:aws:kms:eu-central-1:123456789012:key/1", copy_to: [us-west-2], share_with: ["111122223333"]}
`))
	if err != nil || got.EC2.Region != "eu-central-1" || !got.EC2.Encrypt || !slices.Equal(got.EC2.ShareWith, []string{"111122223333"}) {
		t.Errorf("%+v %v", got, err)
	}
	for src, want := range map[string]string{
		"ec2: {key: \"arn:aws:kms:x:1:key/1\"}\n":          "1:7: ec2.key is there, but ec2.encrypt is not",
		"ec2: {region: eu-west-1, copy_to: [eu-west-1]}\n": "ec2.copy_to[0] is ec2.region, where the image is anyway",
		"ec2: {share_with: [\"12\"]}\n":                    "ec2.share_with[0]",
		"ec2: {endpoint: localhost}\n":                     "ec2.endpoint",
	} {
		_, err := config.LoadAgent(write(t, src))
		if want != "" && (err == nil || !strings.Contains(err.Error(), want) || !fault.Is(err, fault.Invalid)) {
			t.Errorf("%q: %v, want %q", src, err, want)
		}
	}
}
