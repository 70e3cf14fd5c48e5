package haproxy

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// renew gives a worker certificates whose files changed. One that does not load is not given: the last good one goes on.
func (e *edge) renew(ctx context.Context, pid int, t router.Table) error {
	files := tlsFiles{e.folder.file(tlsName)}
	id := e.remembered(pid).worker
	for _, r := range t.Routes {
		if r.TLS == nil {
			continue
		}
		link := files.link(r.TLS)
		stamp := id + stampOf(r.TLS.Cert) + stampOf(r.TLS.Key)
		if e.stamps[link] == stamp {
			continue
		}
		e.stamps[link] = stamp
		pair, err := tls.LoadX509KeyPair(r.TLS.Cert, r.TLS.Key)
		if err != nil {
			e.log.Warn("certificate does not reload, the last good one stays", "route", r.Name, "error", err)
			continue
		}
		if err := e.give(ctx, worker{e.console, pid}, r.TLS, link, pair); err != nil {
			delete(e.stamps, link)
			return fault.New(fault.CodeOf(err), "renew the certificate of route %q: %w", r.Name, err)
		}
	}
	return nil
}

// stampOf changes when a file is replaced or written.
func stampOf(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return " none"
	}
	return fmt.Sprintf(" %d %d", info.Size(), info.ModTime().UnixNano())
}

// give replaces a certificate in the worker's memory, if it has another one.
func (e *edge) give(ctx context.Context, w worker, c *router.TLS, link string, pair tls.Certificate) error {
	out, err := w.ask(ctx, "show ssl cert "+link)
	if err != nil {
		return err
	}
	sum := sha1.Sum(pair.Certificate[0]) // what HAProxy shows it by
	if strings.Contains(strings.ToLower(out), hex.EncodeToString(sum[:])) {
		return nil
	}
	text, err := payload(c.Cert, c.Key)
	if err != nil {
		return err
	}
	out, err = w.ask(ctx, "set ssl cert "+link+" <<\n"+text)
	if err == nil && !strings.Contains(out, "ransaction") {
		err = fault.New(fault.Failed, "%s", strings.TrimSpace(out))
	}
	if err != nil {
		return err
	}
	out, err = w.ask(ctx, "commit ssl cert "+link)
	if err == nil && !strings.Contains(out, "Success") {
		err = fault.New(fault.Failed, "%s", strings.TrimSpace(out))
	}
	if err == nil {
		e.log.Info("certificate renewed", "file", c.Cert)
	}
	return err
}

// payload is PEM files in one, without empty lines, one of which would end it. A certificate and its key go together: one that
// HAProxy gets alone takes the key away that it had.
func payload(files ...string) (string, error) {
	var out strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" {
				out.WriteString(line + "\n")
			}
		}
	}
	return out.String(), nil
}
