package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/internal/fault"
)

// endAtHangup ends the context when the terminal is closed, as at an interrupt. Whoever started the program with nohup wants
// it to go on. A shell and the kernel may both say it, so that further hangups do not kill the process amid its cleaning up.
func endAtHangup(parent context.Context) (context.Context, func()) {
	if signal.Ignored(syscall.SIGHUP) {
		return parent, func() {}
	}
	ctx, cancel := context.WithCancelCause(parent)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-hangups:
				cancel(fault.New(fault.Interrupted, "interrupted: the terminal was closed"))
			case <-done:
				return
			}
		}
	}()
	return ctx, func() { signal.Stop(hangups); close(done); cancel(nil) }
}

// ownsHangup reports whether a verb has its own use for the signal: the router begins its access log anew, and hands over to a
// changed program.
func ownsHangup(cmd *cobra.Command) bool {
	path := cmd.CommandPath()
	return path == "release router" || path == "release router run"
}
