package orchestrator

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootandshoot/release/fleet"
)

// comingDrivers are those of an agent that has used few until now. None answers.
type comingDrivers struct {
	mu    sync.Mutex
	names []string
	asked map[string]bool
}

func (c *comingDrivers) Driver(name string) (fleet.Driver, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[name] = true
	return nil, fleet.ErrUnavailable
}

func (c *comingDrivers) Choose(context.Context, string) (string, error) { return "", nil }

func (c *comingDrivers) Names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.names)
}

// A driver that comes with its first fleet is watched from then on, not from the next leadership on.
func TestDriverThatComesLaterIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drivers := &comingDrivers{names: []string{"docker"}, asked: map[string]bool{}}
		o := &Orchestrator{opts: Options{Drivers: drivers}, log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); o.watchDrivers(ctx) }()
		synctest.Wait()
		drivers.mu.Lock()
		before := len(drivers.asked)
		drivers.names = append(drivers.names, "swarm")
		drivers.mu.Unlock()
		time.Sleep(watchAgain) // of the bubble's clock
		synctest.Wait()
		drivers.mu.Lock()
		if before != 1 || !drivers.asked["swarm"] {
			t.Errorf("%d drivers were watched, then %v", before, drivers.asked)
		}
		drivers.mu.Unlock()
		cancel()
		<-done
	})
}
