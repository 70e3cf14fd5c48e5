// Package routing measures the embedded router: how soon a table is effective, and what a request costs beside a plain
// net/http reverse proxy and beside no proxy at all. All processes are this one again in another role, so that the
// figures of one run compare.
package routing

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded"
)

const (
	roleRouter = "bench-router" // and the folder
	rolePlain  = "bench-plain"  // and listen address and node
	roleNode   = "bench-node"   // and listen address
	// rolePlacebo takes what the router would, and its folder.
	rolePlacebo = "bench-placebo"
	answerSize  = 1024
	patience    = 10 * time.Second
)

// Main is the first line of main or TestMain: in a process that Measure started it plays its role and never returns.
func Main() {
	if len(os.Args) < 3 {
		return
	}
	var err error
	switch os.Args[1] {
	case roleRouter:
		err = embedded.Run(context.Background(), embedded.Config{Dir: os.Args[2], Log: slog.New(slog.DiscardHandler)})
	case rolePlacebo:
		err = servePlacebo(os.Args[2])
	case roleNode:
		err = http.ListenAndServe(os.Args[2], http.HandlerFunc(serveNode))
	case rolePlain:
		proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: os.Args[3]})
		proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 512}
		err = http.ListenAndServe(os.Args[2], proxy)
	default:
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

var answerBody = []byte(strings.Repeat("x", answerSize))

func serveNode(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == socketPath {
		serveSocket(w)
		return
	}
	_, _ = w.Write(answerBody)
}

// Options of a measurement. Zero values are replaced by those in parentheses.
type Options struct {
	Dir         string        // for the router's state; required
	Applies     int           // weight changes (300)
	Connections int           // of the load (64)
	Duration    time.Duration // of each load (3 s)
}

// Result is what was measured.
type Result struct {
	// Apply is from the call to its return, when the table is durable and effective: each was checked by the next
	// request. Large is the same for 100 routes and 1,000 nodes.
	Apply, Large Quantiles
	// Requests a second: straight to the node, through a plain httputil.ReverseProxy, through the router.
	Direct, Plain, Router Load
}

// Quantiles of a set of durations.
type Quantiles struct{ P50, P99, Max time.Duration }

// Load is the outcome of one load. CPU is what the process in between spent on each request, which does not depend on
// what else the machine does; 0 for none in between.
type Load struct {
	PerSecond float64
	P99       time.Duration
	CPU       time.Duration
	Failed    int
}

// Measure runs everything.
func Measure(ctx context.Context, o Options) (r Result, err error) {
	o = o.withDefaults()
	b := &bench{Options: o}
	defer b.stop()
	if err := b.start(ctx); err != nil {
		return r, err
	}
	if r.Apply, err = b.applies(ctx); err != nil {
		return r, err
	}
	if r.Large, err = b.largeApplies(ctx); err != nil {
		return r, err
	}
	status, err := b.client.Status(ctx)
	if err != nil {
		return r, err
	}
	for _, l := range []struct {
		to   string
		pid  int
		load *Load
	}{{b.nodes[0], 0, &r.Direct}, {b.plain, b.children[2].Process.Pid, &r.Plain}, {b.listen, status.PID, &r.Router}} {
		if *l.load, err = runLoad(l.to, l.pid, o.Connections, o.Duration); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (o Options) withDefaults() Options {
	if o.Applies == 0 {
		o.Applies = 300
	}
	if o.Connections == 0 {
		o.Connections = 64
	}
	if o.Duration == 0 {
		o.Duration = 3 * time.Second
	}
	return o
}

// bench is one run with its processes.
type bench struct {
	Options
	nodes         []string
	plain, listen string
	client        *embedded.Client
	seq           uint64
	children      []*exec.Cmd
}

func (b *bench) start(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	for range 2 {
		address := freeAddress()
		b.nodes = append(b.nodes, address)
		if err := b.child(exe, roleNode, address); err != nil {
			return err
		}
	}
	b.plain, b.listen = freeAddress(), freeAddress()
	if err := b.child(exe, rolePlain, b.plain, b.nodes[0]); err != nil {
		return err
	}
	for _, a := range append(slices.Clone(b.nodes), b.plain) {
		if err := awaitListen(a); err != nil {
			return err
		}
	}
	b.client, err = embedded.Ensure(ctx, b.Dir, exe, []string{roleRouter, b.Dir})
	return err
}

// again starts this program in another role.
func (b *bench) again(args ...string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	return b.child(exe, args...)
}

func (b *bench) child(exe string, args ...string) error {
	return b.launch(exec.Command(exe, args...))
}

// launch starts a process in a session of its own, as services have one and the router has: where the kernel groups processes by session, it
// shares the processors between sessions first, and one that is in wrk's competes with wrk instead of beside it. [sched(7), autogroup]
func (b *bench) launch(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	b.children = append(b.children, cmd)
	return nil
}

func (b *bench) stop() {
	if b.client != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = b.client.Stop(ctx)
	}
	for _, cmd := range b.children {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// table gives all weight to one of the two fleets, and routes as many more as asked, with ten nodes each.
func (b *bench) table(serving, more int) router.Table {
	b.seq++
	t := router.Table{Schema: router.Schema, Version: router.Version{Epoch: 1, Seq: b.seq}}
	main := router.Route{Name: "main", Listen: b.listen}
	for i, n := range b.nodes {
		f := router.Fleet{ID: fmt.Sprint("main/", i), Release: fmt.Sprint("r", i), Nodes: []router.Node{{Name: fmt.Sprint("n", i), Address: n}}}
		if i == serving {
			f.Weight = 100
		}
		main.Fleets = append(main.Fleets, f)
	}
	t.Routes = append(t.Routes, main)
	for i := range more {
		r := router.Route{Name: fmt.Sprintf("more/%d", i), Listen: b.listen, Hosts: []string{fmt.Sprintf("h%d.example", i)}}
		f := router.Fleet{ID: fmt.Sprintf("more/%d", i), Release: "r1", Weight: 1 + int(b.seq)%2}
		for j := range 10 {
			f.Nodes = append(f.Nodes, router.Node{Name: fmt.Sprintf("m%d-%d", i, j), Address: fmt.Sprintf("127.0.1.%d:%d", j+1, 10000+i)})
		}
		r.Fleets = []router.Fleet{f}
		t.Routes = append(t.Routes, r)
	}
	return t
}

// applies moves all weight to and fro.
func (b *bench) applies(ctx context.Context) (Quantiles, error) {
	var took []time.Duration
	for i := range b.Applies {
		t := b.table(i%2, 0)
		start := time.Now()
		if err := b.client.Apply(ctx, t); err != nil {
			return Quantiles{}, err
		}
		took = append(took, time.Since(start))
		if err := b.effective(ctx, i%2); err != nil {
			return Quantiles{}, err
		}
	}
	return quantiles(took), nil
}

// effective checks that the next request goes to the fleet that now has the weight.
func (b *bench) effective(ctx context.Context, serving int) error {
	before, err := b.requests(ctx, serving)
	if err != nil {
		return err
	}
	res, err := http.Get("http://" + b.listen + "/")
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	after, err := b.requests(ctx, serving)
	if err == nil && after != before+1 {
		err = fmt.Errorf("table %d was not effective when Apply returned", b.seq)
	}
	return err
}

func (b *bench) requests(ctx context.Context, node int) (uint64, error) {
	o, err := b.client.Observe(ctx)
	if err != nil {
		return 0, err
	}
	for _, n := range o.Edges[0].Nodes {
		if n.Node == fmt.Sprint("n", node) {
			return n.Requests, nil
		}
	}
	return 0, nil
}

func (b *bench) largeApplies(ctx context.Context) (Quantiles, error) {
	var took []time.Duration
	for i := range b.Applies / 10 {
		t := b.table(i%2, 100)
		start := time.Now()
		if err := b.client.Apply(ctx, t); err != nil {
			return Quantiles{}, err
		}
		took = append(took, time.Since(start))
	}
	return quantiles(took), b.client.Apply(ctx, b.table(0, 0))
}

func quantiles(d []time.Duration) Quantiles {
	if len(d) == 0 {
		return Quantiles{}
	}
	slices.Sort(d)
	return Quantiles{P50: d[len(d)/2], P99: d[len(d)*99/100], Max: d[len(d)-1]}
}

func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	return l.Addr().String()
}

func awaitListen(address string) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for %s: %w", address, err)
		}
	}
}
