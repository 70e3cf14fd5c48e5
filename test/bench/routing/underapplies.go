package routing

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded"
)

// UnderApplies is the throughput while tables are applied, over that without. Who applies shares the cores with everything else: what
// that alone takes is seen where the same tables go to a process that throws them away.
type UnderApplies struct {
	Quiet, Placebo, Busy float64 // requests a second; medians
	Ratio                float64 // Busy over Quiet, in pairs: all that applying costs
	Router               float64 // Busy over Placebo, in pairs: the router's part of it
	Applies, Discarded   float64 // a second
}

// MeasureUnderApplies applies 100 tables a second under full load.
func MeasureUnderApplies(ctx context.Context, dir string, rounds int, d time.Duration) (u UnderApplies, err error) {
	b := &bench{Options: Options{Dir: dir}.withDefaults()}
	defer b.stop()
	if err := b.start(ctx); err != nil {
		return u, err
	}
	discards, err := b.placebo(filepath.Join(dir, "placebo"))
	if err != nil {
		return u, err
	}
	if err := b.client.Apply(ctx, b.moved(0)); err != nil {
		return u, err
	}
	var quiet, placebo, busy []Wrk
	for round := range rounds + 1 {
		q, err := wrk(ctx, b.listen, d)
		if err != nil {
			return u, err
		}
		p, thrown, err := b.whileApplying(ctx, discards, d)
		if err != nil {
			return u, err
		}
		w, applied, err := b.whileApplying(ctx, b.client, d)
		if err != nil {
			return u, err
		}
		if round > 0 { // the first warms up
			quiet, placebo, busy = append(quiet, q), append(placebo, p), append(busy, w)
			u.Applies, u.Discarded = float64(applied)/d.Seconds(), float64(thrown)/d.Seconds()
		}
	}
	perSecond := func(w Wrk) float64 { return w.PerSecond }
	u.Quiet, u.Placebo, u.Busy = middle(quiet).PerSecond, middle(placebo).PerSecond, middle(busy).PerSecond
	u.Ratio, u.Router = ratio(busy, quiet, perSecond), ratio(busy, placebo, perSecond)
	return u, nil
}

// whileApplying loads the router while tables go to a client's process, and counts them.
func (b *bench) whileApplying(ctx context.Context, to *embedded.Client, d time.Duration) (w Wrk, n int, err error) {
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		n, err = b.applyAll(ctx, to, stop)
		done <- err
	}()
	w, err = wrk(ctx, b.listen, d)
	close(stop)
	if aerr := <-done; aerr != nil {
		return w, n, aerr
	}
	return w, n, err
}

// moved is a table in which a node has 1 or 2 % besides one that has the rest: both are at work whether tables are applied or not.
func (b *bench) moved(n int) router.Table {
	t := b.table(0, 0)
	t.Routes[0].Fleets[1].Weight = 1 + n%2
	return t
}

// applyAll moves weight 100 times a second, between two nodes that are the same.
func (b *bench) applyAll(ctx context.Context, to *embedded.Client, stop <-chan struct{}) (n int, err error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return n, nil
		case <-tick.C:
			if err := to.Apply(ctx, b.moved(n)); err != nil {
				return n, err
			}
			n++
		}
	}
}

// controlName is what the router's client connects to in its folder.
const controlName = "control.sock"

// placebo starts a process that takes tables and does nothing with them.
func (b *bench) placebo(dir string) (*embedded.Client, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := b.again(rolePlacebo, dir); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("unix", filepath.Join(dir, controlName))
		if err == nil {
			_ = c.Close()
			return embedded.NewClient(dir), nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("start the placebo: %w", err)
		}
	}
}

// servePlacebo answers whatever is put to the control socket in dir, without looking at it.
func servePlacebo(dir string) error {
	l, err := net.Listen("unix", filepath.Join(dir, controlName))
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go discard(c)
	}
}

func discard(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	length := int64(0)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if value, is := strings.CutPrefix(strings.ToLower(line), "content-length:"); is {
			if length, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil {
				return
			}
		}
		if line != "\r\n" {
			continue
		}
		if _, err := io.CopyN(io.Discard, r, length); err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{}\n"); err != nil {
			return
		}
		length = 0
	}
}
