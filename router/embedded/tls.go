package embedded

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootandshoot/release/router"
)

// certificate is a pair of files, read again when they change. A changed pair that does not load is ignored, so the
// last good one goes on.
type certificate struct {
	files   router.TLS
	current atomic.Pointer[tls.Certificate]
	checked atomic.Int64 // Unix nanoseconds of the last look at the files

	mu    sync.Mutex
	stamp string
}

// recheck is how often a handshake looks whether the files changed.
const recheck = time.Second

// load reads the files if that was never done.
func (c *certificate) load() error {
	if c.current.Load() != nil {
		return nil
	}
	return c.read()
}

func (c *certificate) read() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp, err := c.stampOf()
	if err != nil || stamp == c.stamp {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return fmt.Errorf("load certificate %s with key %s: %w", c.files.Cert, c.files.Key, err)
	}
	c.stamp = stamp
	c.current.Store(&pair)
	return nil
}

// stampOf changes when one of the files is replaced or written.
func (c *certificate) stampOf() (string, error) {
	var stamp string
	for _, name := range []string{c.files.Cert, c.files.Key} {
		info, err := os.Stat(name)
		if err != nil {
			return "", fmt.Errorf("load certificate: %w", err)
		}
		stamp += fmt.Sprintf("%d %d;", info.Size(), info.ModTime().UnixNano())
	}
	return stamp, nil
}

// get is the certificate to show, after a look at the files at most once a second.
func (c *certificate) get(now time.Time, log *slog.Logger) (*tls.Certificate, error) {
	last := c.checked.Load()
	if now.UnixNano()-last >= int64(recheck) && c.checked.CompareAndSwap(last, now.UnixNano()) {
		if err := c.read(); err != nil {
			log.Warn("certificate does not reload, the last good one stays", "error", err)
		}
	}
	if pair := c.current.Load(); pair != nil {
		return pair, nil
	}
	return nil, fmt.Errorf("no certificate could be loaded from %s", c.files.Cert)
}

// certificateFor is the certificate for a server name on this listen address.
func (l *listen) certificateFor(name string) *certificate {
	if c, ok := l.certs.find(normalHost(name), ""); ok {
		return c
	}
	return l.first
}
