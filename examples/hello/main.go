// Command hello is a small web service to try release with: it says which version and node answers, can be slow,
// echoes WebSockets, and can be told to fail.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// version is set at build time with -ldflags "-X main.version=v1"; $VERSION goes before it.
var version = "dev"

// stopWithin is the time that requests under way get after SIGTERM: less than the usual grace of 10 s.
const stopWithin = 8 * time.Second

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-version" {
		fmt.Println("hello", version)
		return
	}
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	do := run
	if len(os.Args) > 1 && os.Args[1] == "work" {
		do = work
	}
	if err := do(ctx, log); err != nil {
		log.Error("hello ended", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, log *slog.Logger) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find the name of this node: %w", err)
	}
	port := orDefault(os.Getenv("PORT"), "8080")
	listener, err := net.Listen("tcp", net.JoinHostPort("", port))
	if err != nil {
		return fmt.Errorf("listen on port %s: %w", port, err)
	}
	a := newApp(orDefault(os.Getenv("VERSION"), version), host)
	a.sick.Store(os.Getenv("FAIL") == "1")
	if a.failEvery, err = strconv.ParseUint(orDefault(os.Getenv("FAIL_EVERY"), "0"), 10, 64); err != nil {
		return fmt.Errorf("read FAIL_EVERY: %w", err)
	}
	server := &http.Server{Handler: a.handler(), ReadHeaderTimeout: 10 * time.Second}
	log.Info("hello listens", "version", a.version, "node", host, "port", port)
	return serve(ctx, log, server, listener)
}

// work is hello without a port: a worker that says now and then that it works.
func work(ctx context.Context, log *slog.Logger) error {
	log.Info("hello works", "version", orDefault(os.Getenv("VERSION"), version))
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for done := 0; ; done++ {
		select {
		case <-ctx.Done():
			log.Info("hello ends its work", "done", done)
			return nil
		case <-tick.C:
		}
	}
}

// serve answers until ctx ends, then finishes the requests under way.
func serve(ctx context.Context, log *slog.Logger, server *http.Server, listener net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	log.Info("hello finishes its requests")
	finish, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if err := server.Shutdown(finish); err != nil {
		return fmt.Errorf("finish requests within %s: %w", stopWithin, err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func orDefault(value, other string) string {
	if value == "" {
		return other
	}
	return value
}
