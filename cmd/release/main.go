// Command release bakes images, boots fleets of them, shifts traffic and shoots the old ones. Each verb has a file of
// its own that holds its flags and wires the packages together; the rest of this folder is what verbs share: output,
// the connection to the agent, following an operation.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sandbox"
)

func main() {
	sandbox.Main()
	ctx, stop := interruptible(context.Background())
	code := execute(ctx, newCLI(os.Stdin, os.Stdout, os.Stderr, os.LookupEnv), os.Args[1:])
	stop()
	os.Exit(code)
}

// interruptible ends the context at the first signal that asks for the end, with an error that says so; the second
// kills the process as if nobody had listened.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(interruption(s))
		case <-done:
		}
	}()
	return ctx, func() { signal.Stop(signals); close(done); cancel(nil) }
}

func interruption(s os.Signal) error {
	if s == os.Interrupt {
		return fault.New(fault.Interrupted, "interrupted")
	}
	return fault.New(fault.Interrupted, "ended by a signal: %s", s)
}
