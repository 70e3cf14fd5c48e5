package embedded

import "context"

// Run is the router process.
func Run(ctx context.Context, cfg Config) error { panic("being written") }

// Ensure adopts or spawns.
func Ensure(ctx context.Context, dir, exe string, args []string) (*Client, error) {
	panic("being written")
}
