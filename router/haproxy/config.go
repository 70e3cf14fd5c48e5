package haproxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// Config names the HAProxys that obey the table.
type Config struct {
	Edges []Edge
	Log   *slog.Logger // default: none
}

// Edge is one HAProxy: a master, its worker, and workers that finish after reloads.
type Edge struct {
	// Name is the edge's id in observations.
	Name string
	// Socket is the master's (haproxy -S): the path of a unix socket, or host:port on loopback.
	Socket string
	// Folder gets release.cfg, which HAProxy reads by a second -f. An absolute path that only this edge uses.
	Folder string
}

// ConfigFile is what HAProxy has to be started with: -f FILE, after all other -f.
func (e Edge) ConfigFile() string { return filepath.Join(e.Folder, configName) }

func (c Config) check() error {
	if len(c.Edges) == 0 {
		return fault.New(fault.Invalid, "use haproxy as router: no edge is named")
	}
	seen := map[string]bool{}
	for _, e := range c.Edges {
		if err := e.check(); err != nil {
			return fault.New(fault.Invalid, "use haproxy %q as router: %w", e.Name, err)
		}
		for _, key := range []string{"name " + e.Name, "socket " + e.Socket, "folder " + filepath.Clean(e.Folder)} {
			if seen[key] {
				return fault.New(fault.Invalid, "use haproxy %q as router: another edge has the same %s", e.Name, strings.Fields(key)[0])
			}
			seen[key] = true
		}
	}
	return nil
}

func (e Edge) check() error {
	if e.Name == "" {
		return errors.New("it has no name")
	}
	if !filepath.IsAbs(e.Folder) || strings.ContainsAny(e.Folder, "\"'\\$ \t\r\n") {
		return fmt.Errorf("folder %q is not an absolute path without spaces and quotes", e.Folder)
	}
	if filepath.IsAbs(e.Socket) {
		return nil
	}
	host, _, err := net.SplitHostPort(e.Socket)
	if err != nil {
		return fmt.Errorf("socket %q is neither an absolute path nor host:port", e.Socket)
	}
	if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
		return fmt.Errorf("socket %q is not on loopback: whoever reaches it owns HAProxy, and nothing there is encrypted", e.Socket)
	}
	return nil
}
