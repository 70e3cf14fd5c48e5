package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// askRoute says before anything is booted why the route that a launch asks for could not be served: it takes another app's
// requests, or its address or certificate cannot be used. What changes afterwards is found when the table is applied.
func (o *Orchestrator) askRoute(ctx context.Context, ask asked) error {
	s := &State{Key: ask.Key, Config: *ask.Config, PreviewHash: ask.of(Role).previewHash, Fleets: []*Fleet{{}}}
	want := s.routes(stickyKey(o.secret, ask.Key))
	if len(want) == 0 {
		return nil
	}
	var beside, own []router.Route
	if err := o.call(ctx, func() { beside, own = o.routesBeside(ask.Key) }); err != nil {
		return err
	}
	for _, route := range want {
		if err := conflictOf(route, beside); err != nil {
			return fault.New(fault.Invalid, "%s %s: %w", ask.Kind, ask.Key, err).
				WithHint("give the app another route.listen, or hosts or paths of its own; release status -e ENV shows an environment's route")
		}
		beside = append(beside, route)
		if err := o.precheck(ctx, ask, route, own); err != nil {
			return err
		}
	}
	return nil
}

// precheck asks the router about one route, unless it serves it already.
func (o *Orchestrator) precheck(ctx context.Context, ask asked, route router.Route, own []router.Route) error {
	served := func(have router.Route) bool {
		return have.Name == route.Name && have.Listen == route.Listen && reflect.DeepEqual(have.TLS, route.TLS)
	}
	if slices.ContainsFunc(own, served) {
		return nil
	}
	if p, ok := o.opts.Router.(router.Prechecker); ok {
		if err := p.Precheck(ctx, route); err != nil {
			return fmt.Errorf("%s %s: %w", ask.Kind, ask.Key, err)
		}
	}
	return nil
}

// routesBeside is the routes of all others, as they are or are about to be, and those that an app has now. It runs in the loop.
func (o *Orchestrator) routesBeside(key Key) (beside, own []router.Route) {
	for _, route := range o.world.table.effective.Routes {
		of, ok := routeKey(route.Name)
		if ok && of == key {
			own = append(own, route)
		} else if !ok || o.apps[of] == nil {
			beside = append(beside, route)
		}
	}
	for _, of := range o.Keys() {
		if of != key {
			beside = append(beside, o.apps[of].state.routes(stickyKey(o.secret, of))...)
		}
	}
	return beside, own
}

// conflictOf is what a table has against a route beside others; nil for nothing. What is wrong with the others is not its fault.
func conflictOf(route router.Route, beside []router.Route) error {
	err := router.Table{Schema: router.Schema, Routes: append(beside, route)}.Validate()
	var list fault.List
	if !errors.As(err, &list) {
		return err
	}
	for _, e := range list {
		if strings.HasPrefix(e.Message, fmt.Sprintf("route %q:", route.Name)) {
			return e
		}
	}
	return nil
}
