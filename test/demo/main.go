// Command demo plays the whole story with the built binary and real nodes: bake, launch, cut over step by step under
// load, kill a node, roll back. It ends with what it measured, and leaves nothing behind. DRIVER is sandbox (the default)
// or docker. It exits with 1 when a request was lost that no killed node was busy with.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := 0
	if err := play(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		code = 1
	}
	stop()
	os.Exit(code)
}

// play runs the demo; everything that it starts is ended when it returns.
func play(ctx context.Context, out *os.File) error {
	began := time.Now()
	in, err := newInstallation(driver())
	if err != nil {
		return err
	}
	defer in.end()
	s := &show{out: out, live: isTerminal(out)}
	d := &demo{in: in, show: s, facts: &facts{}}
	if err := d.run(ctx); err != nil {
		return err
	}
	d.facts.summary(out, in.driver, time.Since(began))
	return d.facts.verdict()
}

func driver() string {
	if d := os.Getenv("DRIVER"); d != "" {
		return d
	}
	return "sandbox"
}
