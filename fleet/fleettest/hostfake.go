package fleettest

import "context"

// HostFake is a fake as the driver of one of several hosts, as fleet/spread takes it.
type HostFake struct {
	*Fake
	ID string // its engine's; "": it has none
}

// Engine is the engine's id.
func (h HostFake) Engine(context.Context) (string, error) { return h.ID, nil }

// Reachable is whether the engine lists its fleets.
func (h HostFake) Reachable(ctx context.Context) error {
	_, err := h.Fleets(ctx)
	return err
}

// Close does nothing.
func (h HostFake) Close() error { return nil }
