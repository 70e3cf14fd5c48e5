package alb

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// slowTags is a client whose questions for tags are not answered before it is let go.
type slowTags struct {
	slow  atomic.Bool
	begun atomic.Int32 // looks
	gate  chan struct{}
}

func (s *slowTags) Do(r *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	if strings.Contains(string(text), "Action=DescribeLoadBalancers&") {
		s.begun.Add(1)
	}
	if s.slow.Load() && strings.Contains(string(text), "Action=DescribeTags&") {
		select {
		case <-s.gate:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	return http.DefaultClient.Do(r)
}

// TestSlowLook: a look that takes longer than its caller has goes on, and the answer is the one before, with its time.
func TestSlowLook(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	tags := &slowTags{gate: make(chan struct{})}
	b := c.backend(func(_ *Options, o *awsapi.Options) { o.Client = tags })
	c.apply(provided{c.backend(), c}, routertest.TableOf(1, routertest.RouteTo(routertest.FreeListen(t), routertest.FleetOf(1, 100, routertest.DeadNode(t, "a")))))
	within := func(d time.Duration) (router.Observation, error) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		return b.Observe(ctx)
	}
	tags.slow.Store(true)
	if _, err := within(100 * time.Millisecond); !errors.Is(err, router.ErrUnavailable) {
		t.Errorf("before any look was over: %v", err)
	}
	tags.gate <- struct{}{}
	tags.slow.Store(false)
	first, err := within(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	tags.slow.Store(true)
	begun := tags.begun.Load()
	for range 3 {
		if o, err := within(100 * time.Millisecond); err != nil || !o.At.Equal(first.At) {
			t.Errorf("meanwhile: of %s instead of %s: %v", o.At, first.At, err)
		}
	}
	if n := tags.begun.Load() - begun; n != 1 {
		t.Errorf("%d looks were begun", n)
	}
	tags.slow.Store(false)
	close(tags.gate)
	if o, err := within(time.Minute); err != nil || !o.At.After(first.At) {
		t.Errorf("then: of %s: %v", o.At, err)
	}
}

// TestLookRemovesNothing: a look that goes on when its caller is gone, which may lead no more, removes nothing; who asks next does.
func TestLookRemovesNothing(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	tags := &slowTags{gate: make(chan struct{})}
	b := c.backend(func(o *Options, a *awsapi.Options) { o.Drain, o.Look, a.Client = time.Second, time.Minute, tags })
	listen := routertest.FreeListen(t)
	for n := range 2 {
		c.apply(provided{b, c}, routertest.TableOf(uint64(n+1), routertest.RouteTo(listen, routertest.FleetOf(n+1, 100, routertest.DeadNode(t, "a")))))
	}
	name := b.groupName(routertest.FleetOf(1, 100).ID, "")
	group := func() *group {
		v, err := b.look(t.Context())
		if g := v.groups[name]; err == nil && g != nil {
			err = b.health(t.Context(), g)
		}
		if err != nil {
			t.Fatal(err)
		}
		return v.groups[name]
	}
	routertest.Eventually(t, "it has drained", func() bool { return len(group().targets) == 0 })
	tags.slow.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := b.Observe(ctx); !errors.Is(err, router.ErrUnavailable) {
		t.Errorf("before any look was over: %v", err)
	}
	tags.slow.Store(false)
	close(tags.gate)
	routertest.Eventually(t, "the look is over", func() bool { return b.known.newest() != nil })
	if group() == nil {
		t.Error("the target group was deleted when nobody asked any more")
	}
	if _, err := b.Observe(t.Context()); err != nil || group() != nil {
		t.Errorf("who asks next removes nothing: %v", err)
	}
}
