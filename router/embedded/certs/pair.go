package certs

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// expiring is how long before its end a certificate from files is a problem: nobody but a person renews it.
const expiring = 14 * 24 * time.Hour

// pairFiles are the files of a certificate and its key.
type pairFiles struct{ cert, key string }

// pair is a certificate from files.
type pair struct {
	*watched[tls.Certificate]
	names    pairFiles
	logger   *slog.Logger
	told     atomic.Pointer[time.Time] // when its end was last logged
	mismatch atomic.Pointer[string]    // hosts that it was last seen not to be for
}

func newPair(names pairFiles, m *Manager) *pair {
	p := &pair{names: names, logger: m.log.With("cert", names.cert, "key", names.key)}
	p.watched = &watched[tls.Certificate]{files: []string{names.cert, names.key}, parse: parsePair, now: m.now, log: p.changed}
	return p
}

// parsePair reads a certificate with its chain, and its key.
func parsePair(contents [][]byte) (*tls.Certificate, error) {
	for _, b := range contents {
		if err := whole(b); err != nil {
			return nil, err
		}
	}
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "tls: "))
	}
	return &pair, nil
}

// whole finds a block that is cut short, as in a file that is being written; those who decode PEM pass over it.
func whole(b []byte) error {
	begun := bytes.Count(b, []byte("-----BEGIN "))
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		begun--
	}
	if begun != 0 {
		return errors.New("a PEM block is cut short or damaged")
	}
	return nil
}

func (p *pair) changed(c *tls.Certificate, err error) {
	if err != nil {
		p.logger.Warn("certificate does not reload, the last good one stays", "error", err)
		return
	}
	p.told.Store(nil)
	p.logger.Info("certificate loaded", "names", c.Leaf.DNSNames, "expires", c.Leaf.NotAfter)
}

func (p *pair) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c, err := p.get()
	if err == nil {
		p.remind(c)
	}
	return c, err
}

// remind logs once a day what is wrong with the certificate's time.
func (p *pair) remind(c *tls.Certificate) {
	now := p.now()
	wrong := p.timely(c, now)
	told := p.told.Load()
	if wrong == "" || told != nil && now.Sub(*told) < 24*time.Hour || !p.told.CompareAndSwap(told, &now) {
		return
	}
	p.logger.Warn("certificate must be replaced", "problem", wrong)
}

// timely is what is wrong with the certificate's time, or "".
func (p *pair) timely(c *tls.Certificate, now time.Time) string {
	end := c.Leaf.NotAfter
	switch {
	case now.After(end):
		return fmt.Sprintf("certificate %s expired %s", p.names.cert, day(end))
	case now.Before(c.Leaf.NotBefore):
		return fmt.Sprintf("certificate %s is not valid before %s", p.names.cert, day(c.Leaf.NotBefore))
	case end.Sub(now) < expiring:
		return fmt.Sprintf("certificate %s expires %s", p.names.cert, day(end))
	}
	return ""
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func (p *pair) problems(now time.Time) []string {
	c, err := p.get()
	if err != nil {
		return []string{fmt.Sprintf("certificate %s does not load: %s", p.names.cert, p.why())}
	}
	p.remind(c)
	var list []string
	if why := p.why(); why != "" {
		list = append(list, fmt.Sprintf("certificate %s does not reload, the one loaded before is shown: %s", p.names.cert, why))
	}
	if wrong := p.timely(c, now); wrong != "" {
		list = append(list, wrong)
	}
	return list
}

// uncovered lists those of the routes' hosts that the certificate is not for.
func (p *pair) uncovered(hosts []string) (wrong []string) {
	c := p.value.Load()
	if c == nil {
		return nil
	}
	for _, host := range hosts {
		sample := host
		if suffix, wild := strings.CutPrefix(host, "*"); wild {
			sample = "x" + suffix
		}
		if c.Leaf.VerifyHostname(sample) != nil {
			wrong = append(wrong, host)
		}
	}
	return wrong
}
