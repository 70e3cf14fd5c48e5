package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/bootandshoot/release/fleet"
)

// Watch sends the id of a fleet when one of its nodes was booted, ended or was removed.
func (d *Driver) Watch(ctx context.Context) (<-chan fleet.FleetID, error) {
	return d.watch.Watch(ctx), nil
}

// shortHash makes a name part of an id of any form.
func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}
