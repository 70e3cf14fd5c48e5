package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootandshoot/release/internal/human"
)

// ErrStalled is in the error of a server that sends nothing, or as good as nothing.
var ErrStalled = errors.New("the server does not send")

// trickle is how many bytes count as sending: with fewer in the time of a stall, a file would take days.
const trickle = 1024

// Watch ends a request of which nothing comes, from its very beginning on. Only time that the server is waited for counts.
type Watch struct {
	Stall time.Duration             // how long nothing may come
	Every time.Duration             // after how long, and then how often, Tell is called while nothing comes
	Tell  func(since time.Duration) // nil is fine; from a goroutine of its own, never after End
	Got   *atomic.Int64             // bytes that came are added; nil is fine
}

// Watching is a Watch of one request under way.
type Watching struct {
	watch  Watch
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  *time.Timer
	tell   *time.Timer

	mu      sync.Mutex
	waiting bool
	from    time.Time     // begin of this wait
	waited  time.Duration // before it, since something came
	came    int64         // bytes in that time
	told    int           // how often
}

// Begin gives the context of the request. End must be called.
func (w Watch) Begin(ctx context.Context) (context.Context, *Watching) {
	g := &Watching{watch: w}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stall = time.AfterFunc(w.Stall, g.giveUp)
	g.tell = time.AfterFunc(w.Stall, g.say)
	g.wait()
	return g.ctx, g
}

// wait begins to count.
func (g *Watching) wait() {
	g.waiting, g.from = true, time.Now()
	g.stall.Reset(g.watch.Stall - g.waited)
	g.next()
}

// next sets the time of the next telling.
func (g *Watching) next() {
	g.tell.Stop()
	if g.watch.Tell != nil && g.watch.Every > 0 {
		g.tell.Reset(g.due() - g.now())
	}
}

// due is after how long a wait the next telling is.
func (g *Watching) due() time.Duration { return time.Duration(g.told+1) * g.watch.Every }

// rest ends a wait in which bytes came.
func (g *Watching) rest(n int64) {
	if g.waiting {
		g.waited = g.now()
	}
	g.waiting = false
	g.stall.Stop()
	g.tell.Stop()
	if g.came += n; g.came >= trickle {
		g.waited, g.came, g.told = 0, 0, 0
	}
}

// now is how long it was waited since something came.
func (g *Watching) now() time.Duration { return g.waited + time.Since(g.from) }

// giveUp ends the request, unless something came while the timer went off.
func (g *Watching) giveUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.waiting || g.now() < g.watch.Stall {
		return
	}
	what := "nothing"
	if g.came > 0 {
		what = fmt.Sprintf("only %d bytes", g.came)
	}
	g.cancel(fmt.Errorf("%w: %s came for %s", ErrStalled, what, human.Span(g.watch.Stall)))
}

// say tells that nothing comes, unless that was told, or something came, while the timer went off.
func (g *Watching) say() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.waiting || g.watch.Tell == nil || g.now() < g.due() {
		return
	}
	g.told++
	g.watch.Tell(g.now())
	g.next()
}

// Reader reads the body of the answer, which has begun to come.
func (g *Watching) Reader(body io.Reader) io.Reader {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rest(trickle)
	return watched{body, g}
}

type watched struct {
	r io.Reader
	g *Watching
}

func (w watched) Read(p []byte) (int, error) {
	w.g.mu.Lock()
	w.g.wait()
	w.g.mu.Unlock()
	n, err := w.r.Read(p)
	w.g.mu.Lock()
	w.g.rest(int64(n))
	w.g.mu.Unlock()
	if w.g.watch.Got != nil {
		w.g.watch.Got.Add(int64(n))
	}
	return n, err
}

// End ends the watch and gives the request's error, or why the request was ended.
func (g *Watching) End(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rest(0)
	if cause := context.Cause(g.ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	g.cancel(nil)
	return err
}
