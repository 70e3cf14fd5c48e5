package orchestrator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
		var err error
		if ask.driver, err = o.opts.Drivers.Choose(ctx, o.driverBefore(req.Key)); err == nil {
			ask.scope, err = o.scope(ctx, ask.driver)
		}
		return ask, err
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
	case KindReplace, KindDestroy, KindContract:
	default:
		return ask, fault.New(fault.Invalid, "%s: no such operation: %q", req.Key, req.Kind)
	}
	return ask, nil
}

func (o *Orchestrator) askLaunch(ctx context.Context, ask asked) (asked, error) {
	if ask.Config == nil {
		return ask, fault.New(fault.Invalid, "%s %s: no configuration given", ask.Kind, ask.Key)
	}
	img, err := o.opts.Images.Get(images.Digest(ask.Image))
	if err != nil {
		return ask, fmt.Errorf("%s %s: %w", ask.Kind, ask.Key, err)
	}
	if ports := img.Ports(); len(ports) > 0 {
		ask.port = ports[0]
	}
	if len(img.Command()) == 0 {
		return ask, fault.New(fault.Invalid, "%s %s: the image has neither entrypoint nor service", ask.Kind, ask.Key).
			WithHint("give the recipe an entrypoint: or services:")
	}
	if ask.port == 0 && ask.Config.Route.Listen != "" {
		return ask, fault.New(fault.Invalid, "%s %s: the image declares no port, so the route %s cannot reach it",
			ask.Kind, ask.Key, ask.Config.Route.Listen).WithHint("give the recipe ports: [8080]")
	}
	if err := o.haveFiles(ctx, ask.Request); err != nil {
		return ask, err
	}
	if err := o.verify(ask.Image, ask.Config.Require); err != nil {
		return ask, distrusted(ask.Request, err)
	}
	if ask.driver, err = o.opts.Drivers.Choose(ctx, ask.Config.Fleet.Driver); err == nil {
		ask.scope, err = o.scope(ctx, ask.driver)
	}
	if err != nil {
		return ask, fmt.Errorf("%s %s: %w", ask.Kind, ask.Key, err)
	}
	if ask.previewHash, err = o.previewHash(ask.Config); err != nil {
		return ask, err
	}
	return ask, o.askRoute(ctx, ask)
}

func (o *Orchestrator) previewHash(cfg *config.App) (string, error) {
	if cfg.Route.Preview.Key == "" {
		return "", nil
	}
	key, err := o.opts.Secret(cfg.Route.Preview.Key)
	if err != nil {
		return "", fmt.Errorf("preview key: %w", err)
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:]), nil
}

// driverBefore is what ran the newest fleet, so that a rollback boots with the same.
func (o *Orchestrator) driverBefore(key Key) string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if a := o.apps[key]; a != nil && len(a.state.Fleets) > 0 {
		return a.state.Fleets[len(a.state.Fleets)-1].Driver
	}
	return ""
}
