package consulapi

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/pause"
)

const (
	// wait is how long a blocking query waits at Consul for a change. Shorter than Consul's own 5 min, so that a connection
	// that died unseen is noticed.
	wait = time.Minute
	// slack is how much later than wait an answer may come: Consul adds up to a 16th of the wait, and the network its time.
	slack = wait/16 + 15*time.Second

	firstPause = 100 * time.Millisecond
	longPause  = 5 * time.Second
)

// NextIndex is what a blocking query waits behind after an answer with index got: 0, which answers at once, when Consul's
// index went backwards, as it does when its state was restored; never 0 otherwise, since the next query must wait.
// [Consul documentation: Blocking Queries, implementation details]
func NextIndex(last, got uint64) uint64 {
	if got < last {
		return 0
	}
	return max(got, 1)
}

// Follow does one blocking query after the other until ctx ends: ask does the query with the options given and takes the
// answer. The first answers at once, and so does the next one after an error or a restored state; an answer may say the same
// as the one before. Errors are handed to failed, with the pause before the next try growing from 0.1 s to 5 s; a pause is
// random by half, so that many followers do not ask at the same moment.
func Follow(ctx context.Context, ask func(*api.QueryOptions) (*api.QueryMeta, error), failed func(error)) {
	var index uint64
	pause := firstPause
	for ctx.Err() == nil {
		asked := time.Now()
		meta, err := once(ctx, index, ask)
		if err == nil {
			woken := meta.LastIndex == index && time.Since(asked) < wait
			index, pause = NextIndex(index, meta.LastIndex), firstPause
			if woken { // for nothing, or by a restored state, which is not told: the next answer will show it
				index = 0
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		failed(err)
		index = 0
		if Sleep(ctx, pause) != nil {
			return
		}
		pause = min(2*pause, longPause)
	}
}

func once(ctx context.Context, index uint64, ask func(*api.QueryOptions) (*api.QueryMeta, error)) (*api.QueryMeta, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+slack)
	defer cancel()
	return ask((&api.QueryOptions{WaitIndex: index, WaitTime: wait}).WithContext(ctx))
}

// Sleep waits for between half of d and d, or until ctx ends and says so.
func Sleep(ctx context.Context, d time.Duration) error {
	return pause.For(ctx, d/2+rand.N(d/2+1))
}
