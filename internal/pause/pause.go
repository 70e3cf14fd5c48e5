// Package pause waits between two looks at something.
package pause

import (
	"context"
	"time"
)

// For returns nil once d is over, or ctx's error as soon as that ends.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
