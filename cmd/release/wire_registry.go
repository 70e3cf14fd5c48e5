package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// registry is the read-only image endpoint on loopback from which an engine pulls. Its address is kept over restarts,
// since names of images at the engine hold it.
type registry struct {
	Address string `json:"address"` // "127.0.0.1:port"
	Token   string `json:"token"`

	listener net.Listener
	log      *slog.Logger
}

// openRegistry listens on the port of the last time, or on a free one when that is the first or the port is taken.
func openRegistry(ctx context.Context, dir string, log *slog.Logger) (*registry, error) {
	path := filepath.Join(dir, "registry.json")
	r := &registry{log: log}
	before, err := os.ReadFile(path)
	if err == nil {
		if err := json.Unmarshal(before, r); err != nil {
			return nil, fault.New(fault.Failed, "open registry endpoint: %s is damaged: %w", path, err).
				WithHint("remove it: the endpoint gets another port, and engines pull images that they have once more")
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open registry endpoint: %w", err)
	}
	if err := r.listen(ctx); err != nil {
		return nil, fmt.Errorf("open registry endpoint: %w", err)
	}
	if r.Token == "" {
		r.Token = rand.Text()
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("open registry endpoint: %w", err)
	}
	if bytes.Equal(b, before) { // an agent starts on a full disk too
		return r, nil
	}
	return r, atomicfile.Write(path, b, 0o600)
}

func (r *registry) listen(ctx context.Context) (err error) {
	var c net.ListenConfig
	if r.Address != "" {
		if r.listener, err = c.Listen(ctx, "tcp", r.Address); err == nil {
			return nil
		}
		r.log.Warn("the registry endpoint's port is taken, another one is used", "address", r.Address, "error", err)
	}
	if r.listener, err = c.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	r.Address = r.listener.Addr().String()
	return nil
}

// serve answers pulls until ctx ends.
func (r *registry) serve(ctx context.Context, store *images.Store) error {
	srv := &http.Server{Handler: store.Registry(r.Token), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(r.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the registry endpoint: %w", err)
	}
	return nil
}
