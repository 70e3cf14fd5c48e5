package haproxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// tlsFiles is the folder with links to certificates and keys: HAProxy looks for the key of X.pem in X.pem.key. Keys are not
// copied.
type tlsFiles struct{ folder string }

// crtList says which certificate is for which names on a listen address. The first one is also for all others.
type crtList struct{ path, text string }

func (t tlsFiles) list(own []*placed) crtList {
	var first, others strings.Builder
	for i, pr := range own {
		line := t.link(pr.route.TLS)
		if len(pr.route.Hosts) > 0 {
			line += " " + strings.Join(pr.route.Hosts, " ")
		}
		if len(pr.route.Hosts) == 0 || i == 0 && !someForAll(own) {
			first.WriteString(line + "\n")
		} else {
			others.WriteString(line + "\n")
		}
	}
	text := first.String() + others.String()
	return crtList{filepath.Join(t.folder, digest([]byte(text), 16)+".list"), text}
}

func someForAll(own []*placed) bool {
	for _, pr := range own {
		if len(pr.route.Hosts) == 0 {
			return true
		}
	}
	return false
}

// link is the path by which HAProxy knows a certificate.
func (t tlsFiles) link(c *router.TLS) string {
	return filepath.Join(t.folder, digest([]byte(c.Cert+"\x00"+c.Key), 16)+".pem")
}

// write lays out what the plan's listen addresses need.
func (t tlsFiles) write(p *plan) error {
	secure := map[string][]*placed{}
	for _, pr := range p.routes {
		if pr.route.TLS == nil {
			continue
		}
		secure[pr.route.Listen] = append(secure[pr.route.Listen], pr)
		link := t.link(pr.route.TLS)
		for path, target := range map[string]string{link: pr.route.TLS.Cert, link + ".key": pr.route.TLS.Key} {
			if err := linked(path, target); err != nil {
				return err
			}
		}
	}
	for _, own := range secure {
		l := t.list(own)
		if err := atomicfile.Write(l.path, []byte(l.text), fileMode); err != nil {
			return err
		}
	}
	return nil
}

// linked makes path a link to target.
func linked(path, target string) error {
	if have, err := os.Readlink(path); err == nil && have == target {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("link certificate: %w", err)
	}
	if err := os.Symlink(target, path); err != nil {
		return fmt.Errorf("link certificate: %w", err)
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

// checkTLS refuses what HAProxy would not load.
func checkTLS(r *router.Route) error {
	if r.TLS == nil {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(r.TLS.Cert, r.TLS.Key); err != nil {
		return fault.New(fault.Invalid, "route %q: load certificate %s with key %s: %w", r.Name, r.TLS.Cert, r.TLS.Key, err).
			WithHint("check that both files are PEM, belong together and can be read by the agent's user")
	}
	if r.TLS.ClientCA == "" {
		return nil
	}
	b, err := os.ReadFile(r.TLS.ClientCA)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(b) {
		err = errors.New("no certificate in it")
	}
	if err != nil {
		return fault.New(fault.Invalid, "route %q: load client_ca %s: %w", r.Name, r.TLS.ClientCA, err)
	}
	return nil
}
