package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"

	"github.com/bootandshoot/release/internal/pause"
)

type nameKey struct {
	authority authorityKey
	host      string
}

// name is a host whose certificate is got by ACME.
type name struct {
	key       nameKey
	authority *authority
	stored    atomic.Pointer[tls.Certificate] // what the storage had, until the library has it
	told      atomic.Pointer[time.Time]       // when a handshake without certificate was last logged

	cancel context.CancelFunc // of what runs for it
	ended  chan struct{}      // closed when nothing does any more
	keep   atomic.Bool        // the library keeps the certificate when it ends

	mu      sync.Mutex
	failure string // why it could not be obtained or renewed, the last time
}

// begin obtains the certificate if it is not there, and keeps it. One before it for the same host ends first, which may take a
// while. It is called with the manager's mu held.
func (n *name) begin() {
	if n.cancel != nil {
		return
	}
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	n.ended = make(chan struct{})
	a := n.authority
	before := a.begun[n.key.host]
	a.begun[n.key.host] = n
	a.work.Go(func() {
		defer close(n.ended)
		if before != nil {
			<-before.ended
		}
		a.names.Store(n.key.host, n)
		n.obtain(ctx)
		<-ctx.Done()
		if !n.keep.Load() {
			a.names.Delete(n.key.host)
			a.forget(n.key.host)
		}
	})
}

// end lets go of the name, in the background.
func (n *name) end() { n.cancel() }

// obtain tries until the library has a certificate, new or from storage; then it renews it by itself.
func (n *name) obtain(ctx context.Context) {
	for attempt := 0; ; attempt++ {
		err := n.try(ctx, attempt)
		if err == nil {
			n.failed("")
		}
		if err == nil || n.cached() { // what failed then is a renewal, which the library goes on with
			n.stored.Store(nil)
			return
		}
		if ctx.Err() != nil {
			return
		}
		wait := pauseAfter(attempt, err)
		n.failed(summary(err))
		n.authority.m.log.Warn("certificate not obtained, it is tried again", "host", n.key.host, "error", summary(err), "again_in", wait.Round(time.Second))
		if pause.For(ctx, wait) != nil {
			return
		}
	}
}

// attemptWithin bounds one attempt: an authority may take minutes, and a storage may hang.
const attemptWithin = 10 * time.Minute

// try loads or obtains the certificate once. From the second attempt on the library turns to the directory's test endpoint
// first, where it knows one.
func (n *name) try(ctx context.Context, attempt int) error {
	ctx, cancel := context.WithTimeout(ctx, attemptWithin)
	defer cancel()
	return n.authority.config.ManageSync(context.WithValue(ctx, certmagic.AttemptsCtxKey, &attempt), []string{n.key.host})
}

// pauseAfter is how long to wait after a failed attempt, the first being 0, with up to a fifth more by chance. An authority that
// answers and refuses is asked seldom, since many count what they refuse; one that does not answer, or a storage, costs nothing.
func pauseAfter(attempt int, err error) time.Duration {
	shortest, longest := 5*time.Second, 5*time.Minute
	var p acme.Problem
	if errors.As(err, &p) {
		shortest, longest = time.Minute, time.Hour
		if p.Type == acme.ProblemTypeRateLimited {
			shortest = longest
		}
	}
	wait := min(shortest<<min(attempt, 10), longest)
	return wait + rand.N(wait/5)
}

// cached says whether the library has a certificate for the name.
func (n *name) cached() bool {
	return len(n.authority.cache.AllMatchingCertificates(n.key.host)) > 0
}

// shown is the certificate that handshakes get, or nil.
func (n *name) shown() *tls.Certificate {
	stored := n.stored.Load() // first, as for handshakes
	if c := n.authority.cache.AllMatchingCertificates(n.key.host); len(c) > 0 {
		return &c[0].Certificate
	}
	return stored
}

// load takes what the storage has, without the library.
func (n *name) load(ctx context.Context) {
	s, keys := n.authority.m.storage, certmagic.StorageKeys
	issuer := certmagic.ACMEIssuer{CA: n.key.authority.Directory}
	if issuer.CA == "" {
		issuer.CA = certmagic.DefaultACME.CA
	}
	cert, err := s.Load(ctx, keys.SiteCert(issuer.IssuerKey(), n.key.host))
	if err != nil {
		return // the library says why, when it tries
	}
	key, err := s.Load(ctx, keys.SitePrivateKey(issuer.IssuerKey(), n.key.host))
	if err != nil {
		return
	}
	if pair, err := parsePair([][]byte{cert, key}); err == nil {
		n.stored.Store(pair)
	}
}

func (n *name) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	asked := *hello
	asked.ServerName = n.key.host
	stored := n.stored.Load() // first: it is let go of once the library has the certificate
	if config := n.authority.config; config != nil {
		if c, err := config.GetCertificate(&asked); err == nil {
			return c, nil
		}
	}
	if stored != nil {
		return stored, nil
	}
	n.complain()
	return nil, fmt.Errorf("no certificate for %s yet", n.key.host)
}

// complain logs a handshake that fails, once a minute.
func (n *name) complain() {
	now, last := time.Now(), n.told.Load()
	if last != nil && now.Sub(*last) < time.Minute || !n.told.CompareAndSwap(last, &now) {
		return
	}
	n.authority.m.log.Warn("handshakes fail: no certificate yet", "host", n.key.host, "problem", cmp.Or(n.why(), "it is being obtained"))
}

func (n *name) failed(why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failure = why
}

func (n *name) why() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.failure
}

func (n *name) problems(time.Time) []string {
	why, now := n.why(), time.Now() // the library's clock
	c := n.shown()
	if c == nil {
		return []string{fmt.Sprintf("no certificate for %s yet: %s", n.key.host, cmp.Or(why, "it is being obtained"))}
	}
	end, life := c.Leaf.NotAfter, c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)
	switch left := end.Sub(now); {
	case left < 0:
		return []string{fmt.Sprintf("certificate of %s expired %s: %s", n.key.host, day(end), cmp.Or(why, "it is not renewed"))}
	case left < life/3 && why != "", left < life/6: // a third before the end it is due, and then another router may have it already
		return []string{fmt.Sprintf("certificate of %s, valid until %s, is not renewed: %s", n.key.host, day(end), cmp.Or(why, "the log says why"))}
	}
	return nil
}
