package local

import (
	"context"

	"github.com/bootandshoot/release/fleet"
)

// Sizes are the sizes of a terminal as columns and rows, until ctx ends; nil for none.
func Sizes(ctx context.Context, in <-chan fleet.Window) <-chan [2]int {
	if in == nil {
		return nil
	}
	out := make(chan [2]int)
	go func() {
		defer close(out)
		for {
			select {
			case w, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- [2]int{w.Columns, w.Rows}:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
