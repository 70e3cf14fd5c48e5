package main

import (
	"errors"
	"testing"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

// An error of host forget names what is done already, and keeps its class and hint; where nothing is, it stays as it is.
func TestHalfForgottenIsSaid(t *testing.T) {
	away := fault.New(fault.Unavailable, "the store is away").WithHint("ask again")
	if err := saysGone(api.Forgotten{Fleets: []string{}, Edges: []string{}}, away); !errors.Is(err, away) || err.Error() != "the store is away" {
		t.Errorf("nothing is given up: %v", err)
	}
	err := saysGone(api.Forgotten{Fleets: []string{"shop/production/web/r1/1"}, Edges: []string{"edge2"}, Volumes: []string{"shop/production/web/data"}}, away)
	const want = "the store is away; what was done before that stays so: booted anew here: fleet shop/production/web/r1/1; " +
		"lost with its data: volume shop/production/web/data; forgotten: router edge2"
	if shown := fault.All(err)[0]; shown.Message != want || shown.Code != fault.Unavailable || shown.Hint != "ask again" {
		t.Errorf("said is %+v, want %q", shown, want)
	}
}
