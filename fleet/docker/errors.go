package docker

import (
	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/fault"
)

// What all drivers of Docker engines say of an engine's errors, by the names that this one has for it.

func engineError(err error, format string, args ...any) error {
	return dockerapi.Explain(err, format, args...)
}

func unavailable(code fault.Code, what string, err error) *fault.Error {
	return dockerapi.Unavailable(code, what, err)
}

func silent(err error) bool { return dockerapi.Silent(err) }
