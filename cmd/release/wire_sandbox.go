package main

import (
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

func (a *agent) sandboxDriver() (fleet.Driver, error) {
	return nil, fault.New(fault.Unsupported, "the sandbox driver is not part of this program yet")
}
