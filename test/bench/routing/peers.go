package routing

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// PeerOptions of a comparison. Zero values are replaced by those in parentheses.
type PeerOptions struct {
	Dir        string        // for state; required
	HAProxy    string        // the program ("haproxy")
	KamalProxy string        // the program; "": left out
	Rounds     int           // (9)
	Duration   time.Duration // of each load (3 s)
}

// Wrk is what wrk measured with 64 keep-alive connections.
type Wrk struct {
	PerSecond float64
	P99       time.Duration
}

// PeerResult holds medians over the rounds; the ratios are those of each round's pair. HAProxy tells nodes what the router tells them, so
// that both the proxies and the node have the same to do; Bare is one that tells them only who the client is.
type PeerResult struct {
	Direct, Router, HAProxy, Bare, KamalProxy Wrk
	OverHAProxy, OverBare, OverKamalProxy     float64 // throughput of the router over theirs
	P99OverHAProxy, P99OverBare               float64
}

// MeasurePeers loads the router and its peers in turn, in an order that changes from round to round.
func MeasurePeers(ctx context.Context, o PeerOptions) (r PeerResult, err error) {
	if o.Rounds == 0 {
		o.Rounds = 9
	}
	if o.Duration == 0 {
		o.Duration = 3 * time.Second
	}
	if o.HAProxy == "" {
		o.HAProxy = "haproxy"
	}
	if err := o.programs(); err != nil {
		return r, err
	}
	b := &bench{Options: Options{Dir: o.Dir}.withDefaults()}
	defer b.stop()
	if err := b.start(ctx); err != nil {
		return r, err
	}
	if err := b.client.Apply(ctx, b.table(0, 0)); err != nil {
		return r, err
	}
	targets := []string{b.nodes[0], b.listen}
	alike := func(o PeerOptions) (string, error) { return b.startHAProxy(o, "alike", sameFields) }
	bare := func(o PeerOptions) (string, error) { return b.startHAProxy(o, "bare", "") }
	for _, start := range []func(PeerOptions) (string, error){alike, bare, b.startKamalProxy} {
		address, err := start(o)
		if err != nil {
			return r, err
		}
		targets = append(targets, address)
	}
	runs := make([][]Wrk, len(targets))
	for round := range o.Rounds + 1 {
		order := []int{0, 1, 2, 3, 4}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, i := range order {
			if targets[i] == "" {
				continue
			}
			w, err := wrk(ctx, targets[i], o.Duration)
			if err != nil {
				return r, err
			}
			if round > 0 { // the first one warms up
				runs[i] = append(runs[i], w)
			}
		}
	}
	r.Direct, r.Router, r.HAProxy, r.Bare, r.KamalProxy = middle(runs[0]), middle(runs[1]), middle(runs[2]), middle(runs[3]), middle(runs[4])
	perSecond, p99 := func(w Wrk) float64 { return w.PerSecond }, func(w Wrk) float64 { return w.P99.Seconds() }
	r.OverHAProxy, r.OverBare, r.OverKamalProxy = ratio(runs[1], runs[2], perSecond), ratio(runs[1], runs[3], perSecond), ratio(runs[1], runs[4], perSecond)
	r.P99OverHAProxy, r.P99OverBare = ratio(runs[1], runs[2], p99), ratio(runs[1], runs[3], p99)
	return r, nil
}

// programs says which program is missing, and how to get it, before anything is measured.
func (o PeerOptions) programs() error {
	if err := there("wrk", getWrk); err != nil {
		return err
	}
	if err := there(o.HAProxy, "apt-get install haproxy"); err != nil {
		return err
	}
	if o.KamalProxy == "" {
		return nil
	}
	return there(o.KamalProxy, GetKamalProxy)
}

const (
	getWrk = "apt-get install wrk"
	// GetKamalProxy says how it comes onto the machine.
	GetKamalProxy = "build it (github.com/basecamp/kamal-proxy) and put it on the PATH, or name it in RELEASE_BENCH_KAMAL_PROXY"
)

// there says how to get a program that is not there.
func there(program, get string) error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("the comparison needs %s: %w; %s", filepath.Base(program), err, get)
	}
	return nil
}

func middle(list []Wrk) (w Wrk) {
	w.PerSecond = median(list, func(w Wrk) float64 { return w.PerSecond })
	w.P99 = time.Duration(median(list, func(w Wrk) float64 { return float64(w.P99) }))
	return w
}

func median[T any](list []T, of func(T) float64) float64 {
	var v []float64
	for _, x := range list {
		v = append(v, of(x))
	}
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func ratio(a, b []Wrk, of func(Wrk) float64) float64 {
	if len(a) != len(b) {
		return 0
	}
	var pairs []float64
	for i := range a {
		pairs = append(pairs, of(a[i])/of(b[i]))
	}
	return median(pairs, func(f float64) float64 { return f })
}

// sameFields has HAProxy tell nodes what the router tells them besides X-Forwarded-For.
const sameFields = `
  http-request set-header X-Forwarded-Host %[req.hdr(Host)]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Port %[dst_port]`

// startHAProxy serves the first node as its manual's simplest configuration does, with more of the frontend's rules.
func (b *bench) startHAProxy(o PeerOptions, name, rules string) (string, error) {
	address := freeAddress()
	config := fmt.Sprintf(`defaults
  mode http
  timeout connect 1s
  timeout client 30s
  timeout server 30s
  option forwardfor
frontend users
  bind %s%s
  default_backend nodes
backend nodes
  balance leastconn
  server n1 %s
`, address, rules, b.nodes[0])
	path := filepath.Join(o.Dir, name+".cfg")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return "", err
	}
	if err := b.child(o.HAProxy, "-db", "-q", "-f", path); err != nil {
		return "", err
	}
	return address, awaitListen(address)
}

// startKamalProxy deploys the first node to it.
func (b *bench) startKamalProxy(o PeerOptions) (string, error) {
	if o.KamalProxy == "" {
		return "", nil
	}
	home := filepath.Join(o.Dir, "kamal")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", err
	}
	env := append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_RUNTIME_DIR="+home, "XDG_STATE_HOME="+home)
	address, secure := freeAddress(), freeAddress()
	_, port, _ := net.SplitHostPort(address)
	_, securePort, _ := net.SplitHostPort(secure)
	cmd := exec.Command(o.KamalProxy, "run", "--http-port", port, "--https-port", securePort)
	cmd.Env = env
	if err := b.launch(cmd); err != nil {
		return "", err
	}
	if err := awaitListen(address); err != nil {
		return "", err
	}
	deploy := exec.Command(o.KamalProxy, "deploy", "bench", "--target", b.nodes[0], "--health-check-path", "/")
	deploy.Env = env
	if out, err := deploy.CombinedOutput(); err != nil {
		return "", fmt.Errorf("deploy to kamal-proxy: %w: %s", err, out)
	}
	return address, nil
}

var (
	wrkRate = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkP99  = regexp.MustCompile(`99%\s+(\S+)`)
	wrkBad  = regexp.MustCompile(`Non-2xx|Socket errors`)
)

// wrk runs one load.
func wrk(ctx context.Context, address string, d time.Duration) (Wrk, error) {
	if err := there("wrk", getWrk); err != nil {
		return Wrk{}, err
	}
	out, err := exec.CommandContext(ctx, "wrk", "-t2", "-c64", "--latency", "-d"+strconv.Itoa(max(1, int(d.Seconds())))+"s", "http://"+address+"/").CombinedOutput()
	if err != nil {
		return Wrk{}, fmt.Errorf("wrk on %s: %w: %s", address, err, out)
	}
	rate, p99 := wrkRate.FindSubmatch(out), wrkP99.FindSubmatch(out)
	if rate == nil || p99 == nil || wrkBad.Match(out) {
		return Wrk{}, fmt.Errorf("wrk on %s: %s", address, out)
	}
	var w Wrk
	w.PerSecond, _ = strconv.ParseFloat(string(rate[1]), 64)
	w.P99, _ = time.ParseDuration(string(p99[1]))
	return w, nil
}
