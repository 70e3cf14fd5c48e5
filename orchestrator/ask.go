package orchestrator

import (
	"cmp"
	"context"
	"fmt"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// ask completes a request with what deciding needs from the world: the image's port, a driver, the preview key.
func (o *Orchestrator) ask(ctx context.Context, req Request) (asked, error) {
	ask := asked{Request: req}
	switch req.Kind {
	case KindLaunch, KindUp:
		return o.askLaunch(ctx, ask)
	case KindRollback:
		if err := o.askTrust(req, (*round).rollsBackTo); err != nil {
			return ask, err
		}
		return o.askDrivers(ctx, ask)
	case KindScale:
		if req.Size < 1 {
			return ask, fault.New(fault.Invalid, "scale %s: %d is not a size", req.Key, req.Size).
				WithHint("release destroy ends all nodes")
		}
	case KindCutover:
		if req.Percent < 0 || req.Percent > 100 {
			return ask, fault.New(fault.Invalid, "cut over %s: %d is not a percentage from 1 to 100", req.Key, req.Percent)
		}
		return ask, o.askTrust(req, (*round).cutsOverTo)
	case KindQuarantine:
		if req.For < 0 || len(req.Nodes) == 0 {
			return ask, fault.New(fault.Invalid, "quarantine of %s: no node is named, or a time of %s", req.Key, req.For)
		}
	case KindReplace:
		if len(req.Nodes) == 0 {
			return ask, fault.New(fault.Invalid, "replace of %s: no node is named", req.Key)
		}
	case KindDestroy, KindContract:
	default:
		return ask, fault.New(fault.Invalid, "%s: no such operation: %q", req.Key, req.Kind)
	}
	return ask, nil
}

func (o *Orchestrator) askLaunch(ctx context.Context, ask asked) (asked, error) {
	if ask.Config == nil {
		return ask, fault.New(fault.Invalid, "%s %s: no configuration given", ask.Kind, ask.Key)
	}
	ask.roles = map[string]askedRole{}
	for _, role := range ask.Config.RoleNames() {
		part, err := o.askRole(ctx, ask, role)
		if err != nil {
			return ask, err
		}
		ask.roles[role] = part
	}
	if err := o.askQuestions(ask.Request); err != nil {
		return ask, err
	}
	if err := o.haveFiles(ctx, ask.Request); err != nil {
		return ask, err
	}
	if err := o.askInward(ctx, &ask); err != nil {
		return ask, err
	}
	return ask, o.askRoute(ctx, ask)
}

// askRole finds out what a role needs to boot.
func (o *Orchestrator) askRole(ctx context.Context, ask asked, role string) (askedRole, error) {
	part := askedRole{image: cmp.Or(ask.Images[role], ask.Image)}
	doing, cfg := fmt.Sprintf("%s %s", ask.Kind, ask.Key), ask.Config.Role(role)
	if len(ask.Config.Roles) > 0 {
		doing += ", role " + role
	}
	img, err := o.opts.Images.Get(images.Digest(part.image))
	if err != nil {
		return part, fmt.Errorf("%s: %w", doing, err)
	}
	if ports := img.Ports(); len(ports) > 0 {
		part.port = ports[0]
	}
	if dated, ok := o.opts.Images.(Dated); ok {
		part.bakedAt = dated.Added(images.Digest(part.image))
	}
	if len(img.Command())+len(cfg.Command) == 0 {
		return part, fault.New(fault.Invalid, "%s: the image has neither entrypoint nor service", doing).
			WithHint("give the recipe an entrypoint: or services:")
	}
	if part.port == 0 && cfg.Routed() {
		return part, fault.New(fault.Invalid, "%s: the image declares no port, so the route%s cannot reach it", doing, spaced(cfg.Route.Listen)).
			WithHint("give the recipe ports: [8080]")
	}
	if err := o.verify(part.image, ask.Config.Require); err != nil {
		return part, distrusted(ask.Request, err)
	}
	if part.driver, part.scope, err = o.place(ctx, cfg.Fleet.DriverName()); err != nil {
		return part, fmt.Errorf("%s: %w", doing, err)
	}
	if cfg.Routed() {
		part.previewHash, err = o.previewHash(cfg.Route.Preview.Key)
	}
	return part, err
}

func spaced(text string) string {
	if text == "" {
		return ""
	}
	return " " + text
}

func (o *Orchestrator) previewHash(ref string) (string, error) {
	if ref == "" {
		return "", nil
	}
	key, err := o.opts.Secret(ref)
	if err != nil {
		return "", fmt.Errorf("preview key: %w", err)
	}
	return digestOf([]byte(key)), nil
}

// askDrivers finds what a rollback boots with: what its release names, else what ran the newest fleet of a role, else the newest of all.
// After one with hosts that is the agent's own engine, for a release without; one with hosts needs none.
func (o *Orchestrator) askDrivers(ctx context.Context, ask asked) (asked, error) {
	before, last, named := o.driversBefore(ask.Request)
	on := func(driver string) (part askedRole, err error) {
		if driver == config.HostsDriver {
			part.driver, part.scope, part.lacks = o.place(ctx, ownEngine)
			return part, nil
		}
		part.driver, part.scope, err = o.place(ctx, driver)
		return part, err
	}
	var err error
	if ask.other, err = on(last); err != nil {
		return ask, err
	}
	ask.roles = map[string]askedRole{}
	for role, driver := range before {
		if ask.roles[role], err = on(driver); err != nil {
			return ask, err
		}
	}
	for role, driver := range named {
		if driver != before[role] {
			var part askedRole
			part.driver, part.scope, part.lacks = o.place(ctx, driver)
			ask.roles[role] = part
		}
	}
	return ask, nil
}

// place is the driver that a name means here ("": the one that this agent prefers), and what it sees.
func (o *Orchestrator) place(ctx context.Context, name string) (driver, scope string, err error) {
	if driver, err = o.opts.Drivers.Choose(ctx, name); err == nil {
		scope, err = o.scope(ctx, driver)
	}
	return driver, scope, err
}

// ownEngine is the driver of the agent's own Docker engine, as fleets without hosts have it.
const ownEngine = "docker"

// driversBefore are the drivers of the newest fleets by role, of the newest of all, and those that a release to be booted again names.
func (o *Orchestrator) driversBefore(req Request) (by map[string]string, last string, named map[string]string) {
	by, named = map[string]string{}, map[string]string{}
	s := o.published(req.Key)
	if s == nil {
		return by, last, named
	}
	for _, fl := range s.Fleets {
		last, by[fl.ID.Role] = fl.Driver, fl.Driver
	}
	r := &round{s: s}
	if rel := r.rollsBackTo(req); rel != nil {
		for _, role := range s.lacking(rel) {
			fl := rel.Config.Role(role).Fleet
			if name := fl.DriverName(); name != "" && name != config.HostsDriver {
				named[role] = name
			}
		}
	}
	return by, last, named
}
