package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/ec2"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/router/alb"
)

// ec2Asked bounds all questions to AWS together.
const ec2Asked = time.Minute

// accountOf is the account as the CLI sees it: what the agent with this state folder uses. No installation yet is one without anything.
func (c *cli) accountOf(stateDir string, settings *config.Agent, store *images.Store) (account, error) {
	id, err := installationBefore(stateDir)
	if id == "" {
		id = "none"
	}
	return account{settings: settings.EC2, dir: filepath.Join(stateDir, ec2Name), installation: id, images: store, log: slog.New(slog.DiscardHandler)}, err
}

// ec2Places are where the fleets of the app here run that run on EC2; none without an app.
func (c *cli) ec2Places() (places []fleet.Placement) {
	app, err := c.app()
	if err != nil {
		return nil // another verb says what is wrong with it
	}
	for _, role := range app.RoleNames() {
		if f := app.Role(role).Fleet; f.Driver == ec2Name {
			places = append(places, fleet.Placement{Types: f.EC2.Types, Subnets: f.EC2.Subnets, Groups: f.EC2.SecurityGroups, Profile: f.EC2.Profile})
		}
	}
	return places
}

// ec2Checks looks at AWS, if the agent here or the app here uses it.
func (c *cli) ec2Checks(ctx context.Context, stateDir string, settings *config.Agent) []api.Check {
	account, err := c.accountOf(stateDir, settings, nil)
	places := c.ec2Places()
	if err == nil && len(places) == 0 && !account.used() {
		return nil
	}
	if err != nil {
		return []api.Check{fails("ec2", err)}
	}
	d, err := account.driver()
	if err != nil {
		return []api.Check{fails("ec2", err)}
	}
	if len(places) == 0 {
		places = []fleet.Placement{{}}
	}
	ctx, cancel := context.WithTimeout(ctx, ec2Asked)
	defer cancel()
	var checks []api.Check
	for _, p := range places {
		for _, f := range d.Examine(ctx, p) {
			check := ok("ec2 "+f.What, "%s", f.Is)
			if f.Err != nil {
				check = fails("ec2 "+f.What, f.Err)
			}
			if !slices.Contains(checks, check) {
				checks = append(checks, check)
			}
		}
	}
	return checks
}

// orphanChecks finds what carries our tag, or another installation's, and nobody needs. It removes nothing.
func (c *cli) orphanChecks(ctx context.Context) []api.Check {
	const name = "orphans"
	settings, err := c.settings("")
	if err != nil {
		return []api.Check{fails(name, err)}
	}
	stateDir, err := c.stateDir()
	if err != nil {
		return []api.Check{fails(name, err)}
	}
	store, err := c.store()
	if err != nil {
		return []api.Check{fails(name, err)}
	}
	account, err := c.accountOf(stateDir, settings, store)
	if err != nil {
		return []api.Check{fails(name, err)}
	}
	d, err := account.driver()
	if err != nil {
		return []api.Check{fails(name, err)}
	}
	ctx, cancel := context.WithTimeout(ctx, ec2Asked)
	defer cancel()
	all, err := d.Tagged(ctx)
	if err != nil {
		return []api.Check{fails(name, err)}
	}
	groups, unseen := taggedGroups(ctx, account, settings.Router.ALB)
	all = append(all, groups...)
	known, err := c.onRecord(ctx) // after the list: a fleet that is launched in between is on record
	if err != nil {
		return []api.Check{fails(name, err)}
	}
	collected, err := d.Collect(ctx, needs(store, nil, func() (onRecord, error) { return known, nil }), true)
	if err != nil {
		return []api.Check{fails(name, err)}
	}
	checks := orphans(name, account.installation, all, collected, known.fleets)
	if unseen != nil { // what EC2 has is told all the same, but not that it is all
		checks = append(slices.DeleteFunc(checks, func(c api.Check) bool { return c.State == "ok" }), fails(name, unseen))
	}
	return checks
}

// taggedGroups are the target groups that carry a tag of ours or another installation's, but for those that the backend of the settings'
// load balancer looks after. Without one the policy need not allow to look.
func taggedGroups(ctx context.Context, account account, settings *config.ALB) (all []ec2.Thing, err error) {
	region, balancer := account.settings.Region, ""
	if settings != nil {
		region, balancer = cmp.Or(settings.Region, region), settings.Name
	}
	cfg, err := awsapi.Load(ctx, awsapi.Options{Region: region, Endpoint: account.settings.Endpoint})
	if err != nil {
		return nil, err
	}
	groups, err := alb.AllTagged(ctx, cfg)
	if settings == nil && fault.Is(err, fault.Denied) {
		return nil, nil
	}
	for _, g := range groups {
		if balancer == "" || !alb.Keeps(account.installation, balancer, g) {
			all = append(all, ec2.Thing{Kind: "target group", ID: g.ARN, Region: cfg.Region, Installation: g.Installation, Fleet: cmp.Or(g.Fleet, tableOf(g))})
		}
	}
	return all, err
}

// tableOf stands for the fleet of a target group that keeps a table of a load balancer which the settings do not name.
func tableOf(g alb.Tagged) string { return "none, " + g.Name + " keeps a table" }

// orphans are what no record, image or fleet accounts for, one check each, and other installations' in one check each.
func orphans(name, installation string, all []ec2.Thing, collected []ec2.Collected, fleets map[string]bool) (checks []api.Check) {
	others, ours := map[string]map[string]int{}, 0
	for _, t := range all {
		if t.Installation != installation {
			if others[t.Installation] == nil {
				others[t.Installation] = map[string]int{}
			}
			others[t.Installation][t.Kind]++
			continue
		}
		ours++
		if t.Fleet != "" && !fleets[t.Fleet] {
			checks = append(checks, warn(name, removedBy(t), "%s %s of fleet %s%s: no record knows that fleet", t.Kind, t.ID, t.Fleet, sinceText(t.Since)))
		}
	}
	for _, one := range collected {
		if !one.Keep {
			checks = append(checks, warn(name, "release images gc", "%s %s in %s: %s", one.Kind, one.ID, one.Region, one.Reason))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(others)) {
		var parts []string
		for _, kind := range slices.Sorted(maps.Keys(others[id])) {
			parts = append(parts, human.Count(others[id][kind], kind))
		}
		checks = append(checks, warn(name, "if that installation is gone for good, remove by its tag release.installation="+id+" what it left",
			"installation %s has %s here; this one never touches them", id, strings.Join(parts, ", ")))
	}
	if len(checks) == 0 {
		return []api.Check{ok(name, "none: all %d things in the account that carry our tag are accounted for", ours)}
	}
	return checks
}

func sinceText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ", since " + t.Local().Format(time.DateTime)
}

// removedBy is how a person removes what no record knows. The agent does so by itself with what its journal says it began.
func removedBy(t ec2.Thing) string {
	how := map[string]string{
		"instance":           "aws ec2 terminate-instances --instance-ids %s",
		"launch template":    "aws ec2 delete-launch-template --launch-template-name %s",
		"target group":       "first delete the rules that forward to it, or their load balancer (until then it is in use), then aws elbv2 delete-target-group --target-group-arn %s",
		"auto scaling group": "aws autoscaling delete-auto-scaling-group --force-delete --auto-scaling-group-name %s",
	}[t.Kind]
	return "the agent shoots what its journal began and gave up; else: " + fmt.Sprintf(how, t.ID) + " --region " + t.Region
}
