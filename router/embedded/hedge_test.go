package embedded

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// soon is when requests are hedged here.
const soon = 20 * time.Millisecond

// arrivals are two nodes that treat the tries of a request, which its path names, by their order.
type arrivals struct {
	mu    sync.Mutex
	tries map[string]int
	ended map[string]int // tries that the router gave up
	try   tries
}

// tries says what the first, the second and so on does.
type tries map[int]try

type try func(a *arrivals, w http.ResponseWriter, r *http.Request)

// tells answers which try it is.
func tells(n int) try {
	return func(_ *arrivals, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, n) }
}

// hangs waits until the router gives it up.
func hangs(a *arrivals, _ http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended[r.URL.Path]++
}

// after does something when so many tries have come.
func after(tries int, do try) try {
	return func(a *arrivals, w http.ResponseWriter, r *http.Request) {
		for a.of(r.URL.Path) < tries && r.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(5 * time.Millisecond) // what the other try does comes first, most times
		do(a, w, r)
	}
}

func breaks(*arrivals, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// late is long after another try would have come.
func late(_ *arrivals, w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	time.Sleep(10 * soon)
	fmt.Fprint(w, "late")
}

func (a *arrivals) of(path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tries[path]
}

func (a *arrivals) gaveUp(path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ended[path]
}

func (a *arrivals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.tries[r.URL.Path]++
	try := a.try[a.tries[r.URL.Path]]
	a.mu.Unlock()
	try(a, w, r)
}

// start makes a rig that hedges, with the nodes behind it.
func (a *arrivals) start(t *testing.T, nodes string, secure bool) *rig {
	t.Helper()
	a.tries, a.ended = map[string]int{}, map[string]int{}
	start := routertest.StartNode
	if nodes == router.NodeH2C {
		start = h2cNode
	}
	r := startRig(t, secure, start(t, "a", a.ServeHTTP), start(t, "b", a.ServeHTTP))
	r.route.Nodes = nodes
	r.route.Balance = router.Balance{HedgeAfter: soon}
	return r
}

// everyHedge runs a test with both kinds of clients and of nodes.
func everyHedge(t *testing.T, test func(t *testing.T, nodes string, secure bool)) {
	bothWays(t, func(t *testing.T, secure bool) {
		for name, nodes := range map[string]string{"http/1.1": "", "h2c": router.NodeH2C} {
			t.Run(name, func(t *testing.T) { test(t, nodes, secure) })
		}
	})
}

// A safe request that has no answer for a while goes to the other node too. Whichever try answers first is the request's; the other one
// ends, and is no failure of its node. One that fails leaves it to the other.
func TestHedge(t *testing.T) {
	for name, c := range map[string]struct {
		try           tries
		want          string
		ended, resets int
		retried       uint64
	}{
		"the first hangs":         {tries{1: hangs, 2: tells(2)}, "2", 1, 0, 1},
		"the second hangs":        {tries{1: after(2, tells(1)), 2: hangs}, "1", 1, 0, 1},
		"the first breaks":        {tries{1: after(2, breaks), 2: after(2, after(2, tells(2)))}, "2", 0, 1, 1},
		"the second breaks":       {tries{1: after(2, after(2, tells(1))), 2: breaks}, "1", 0, 1, 1},
		"both break":              {tries{1: after(2, breaks), 2: after(2, breaks), 3: tells(3)}, "3", 0, 2, 2},
		"the first breaks before": {tries{1: breaks, 2: tells(2)}, "2", 0, 1, 1},
		"the other one hangs":     {tries{1: breaks, 2: hangs}, "504", 1, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			everyHedge(t, func(t *testing.T, nodes string, secure bool) {
				a := &arrivals{try: c.try}
				r := a.start(t, nodes, secure)
				r.e.cfg.NodeTimeout = 2 * time.Second
				if got := r.ask(r.client(), "GET", "/x", ""); got != c.want {
					t.Errorf("answer %q, want %q", got, c.want)
				}
				r.settle()
				routertest.Eventually(t, "the try that lost has ended", func() bool { return a.gaveUp("/x") == c.ended })
				traffic, resets := r.e.routeTraffic(), uint64(0)
				for _, n := range []string{"a", "b"} {
					resets += r.e.nodeTraffic(n).Reset
				}
				if traffic.Requests != 1 || traffic.Retried != c.retried || int(resets) != c.resets {
					t.Errorf("%+v, %d resets of the nodes; want %d retried and %d resets", traffic, resets, c.retried, c.resets)
				}
			})
		})
	}
}

// What might be done twice, what no other node has room for, and what the budget does not allow goes to one node.
func TestNoHedge(t *testing.T) {
	for name, c := range map[string]struct {
		method, body string
		change       func(*router.Route)
		spend        bool
	}{
		"POST":          {method: "POST"},
		"PUT":           {method: "PUT", body: "x"},
		"DELETE":        {method: "DELETE"},
		"with a body":   {method: "GET", body: "x"},
		"not asked for": {method: "GET", change: func(r *router.Route) { r.Balance.HedgeAfter = 0 }},
		"no other node": {method: "GET", change: func(r *router.Route) { r.Fleets[0].Nodes = r.Fleets[0].Nodes[:1] }},
		"no budget":     {method: "GET", spend: true},
	} {
		t.Run(name, func(t *testing.T) {
			everyHedge(t, func(t *testing.T, nodes string, secure bool) {
				a := &arrivals{try: tries{1: late, 2: tells(2)}}
				r := a.start(t, nodes, secure)
				if c.change != nil {
					c.change(&r.route)
				}
				client := r.client()
				for c.spend && r.e.memory.routes[r.route.Name].budget.spend() {
				}
				if got := r.ask(client, c.method, "/x", c.body); got != "late" || a.of("/x") != 1 {
					t.Errorf("answer %q after %d tries", got, a.of("/x"))
				}
				r.settle()
			})
		})
	}
}

// A node that has all it may have gets no second tries.
func TestNoHedgeToFullNodes(t *testing.T) {
	a := &arrivals{try: tries{1: late, 2: tells(2)}}
	r := a.start(t, "", false)
	r.route.Balance.MaxInFlight = 1
	client := r.client()
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			path := fmt.Sprint("/", i)
			if got := r.ask(client, "GET", path, ""); got != "late" && got != "2" {
				t.Errorf("answer %q", got)
			}
		})
	}
	wait.Wait()
	r.settle()
}

// A client that goes away ends both tries.
func TestHedgeOfAClientThatGoes(t *testing.T) {
	for _, first := range []string{"hangs", "breaks"} {
		t.Run(first, func(t *testing.T) {
			everyHedge(t, func(t *testing.T, nodes string, secure bool) {
				a := &arrivals{try: tries{1: hangs, 2: hangs}}
				want := 2
				if first == "breaks" {
					a.try[1], want = after(2, breaks), 1
				}
				r := a.start(t, nodes, secure)
				client := r.client()
				ctx, cancel := context.WithCancel(t.Context())
				req, err := http.NewRequestWithContext(ctx, "GET", r.url("/x"), nil)
				if err != nil {
					t.Fatal(err)
				}
				go func() {
					for a.of("/x") < 2 && ctx.Err() == nil {
						time.Sleep(time.Millisecond)
					}
					time.Sleep(2 * soon)
					cancel()
				}()
				if res, err := client.Do(req); err == nil {
					t.Errorf("answer %s", res.Status)
					_ = res.Body.Close()
				}
				routertest.Eventually(t, "both tries to end", func() bool { return a.gaveUp("/x") == want })
				r.settle()
			})
		})
	}
}

// sleepy is a node that answers with its name after a while, or not at all when the router gives up.
func sleepy(t *testing.T, name string, after time.Duration) *routertest.TestNode {
	return routertest.StartNode(t, name, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(after):
			fmt.Fprint(w, name)
		case <-r.Context().Done():
		}
	})
}

// A slow node is no reason to leave the fleet that the weights or a rule chose.
func TestHedgeStaysInItsFleet(t *testing.T) {
	for name, change := range map[string]func(*router.Route){
		"standby": func(r *router.Route) { r.Fleets[1].Standby = true },
		"split":   func(r *router.Route) { r.Fleets[1].Weight = 1 },
		"rule": func(r *router.Route) {
			r.Rules = []router.Rule{{Paths: []string{"/"}, Fleet: r.Fleets[0].ID}}
			r.Fleets[0].Weight, r.Fleets[1].Weight = 0, 100
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRig(t, false, sleepy(t, "new", 3*soon))
			r.route.Fleets = append(r.route.Fleets, routertest.FleetOf(9, 0, sleepy(t, "old", 0)))
			r.route.Balance.HedgeAfter = soon
			change(&r.route)
			client := r.client()
			for range 10 {
				if got := r.ask(client, "GET", "/", ""); got != "new" {
					t.Errorf("answer %q", got)
				}
			}
			if n := r.e.routeTraffic().Retried; n > 0 {
				t.Errorf("%d second tries", n)
			}
			r.settle()
		})
	}
}

// A node that hangs is out after so many requests that another node had to answer.
func TestHedgedNodeIsEjected(t *testing.T) {
	r := startRig(t, false, sleepy(t, "hangs", time.Hour), sleepy(t, "b", 0), sleepy(t, "c", 0))
	r.route.Balance = router.Balance{HedgeAfter: soon, EjectAfter: ejectedAfter}
	client := r.client()
	for range 60 {
		if got := r.ask(client, "GET", "/", ""); got != "b" && got != "c" {
			t.Errorf("answer %q", got)
		}
	}
	if n := r.e.nodeTraffic("hangs"); !n.Ejected || n.Requests != ejectedAfter || n.Timeout+n.Reset+n.Connect != 0 {
		t.Errorf("%+v", n)
	}
	r.settle()
}

// An answer of 5xx is none that the first node's would be given up for, and a second try that ended holds no place.
func TestHedgeThatFails(t *testing.T) {
	for name, second := range map[string]try{
		"5xx":    func(_ *arrivals, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"breaks": breaks,
	} {
		t.Run(name, func(t *testing.T) {
			everyHedge(t, func(t *testing.T, nodes string, secure bool) {
				goOn := make(chan struct{})
				a := &arrivals{try: tries{2: second}}
				a.try[1] = func(_ *arrivals, w http.ResponseWriter, _ *http.Request) {
					<-goOn
					fmt.Fprint(w, 1)
				}
				r := a.start(t, nodes, secure)
				client, done := r.client(), make(chan string)
				go func() { done <- r.ask(client, "GET", "/x", "") }()
				routertest.Eventually(t, "the second try to have left its node", func() bool {
					return a.of("/x") == 2 && r.e.nodeTraffic("a").InFlight+r.e.nodeTraffic("b").InFlight == 1
				})
				close(goOn)
				if got := <-done; got != "1" {
					t.Errorf("answer %q", got)
				}
				r.settle()
				if log := r.logged(); len(log) != 1 || log[0].Tries != 2 {
					t.Errorf("logged %+v", log)
				}
			})
		})
	}
}

// With room for more a slow node does not get its request twice.
func TestHedgeGoesToAnotherNode(t *testing.T) {
	a := &arrivals{try: tries{1: late, 2: tells(2)}}
	r := a.start(t, "", false)
	r.route.Balance.MaxInFlight = 2
	client := r.client()
	r.e.mu.Lock()
	for k, n := range r.e.memory.nodes {
		if k.name == "b" { // full
			n.inFlight.Add(2)
			defer n.inFlight.Add(-2)
		}
	}
	r.e.mu.Unlock()
	if got := r.ask(client, "GET", "/x", ""); got != "late" || a.of("/x") != 1 {
		t.Errorf("answer %q after %d tries", got, a.of("/x"))
	}
}

// Many requests whose tries answer at about the same time all have one answer, whole, and nothing is left of the others.
func TestHedgesAtTheSameTime(t *testing.T) {
	large := pattern(200 << 10)
	everyHedge(t, func(t *testing.T, nodes string, secure bool) {
		any := func(_ *arrivals, w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Duration(rand.Int64N(int64(2 * soon))))
			switch rand.IntN(8) {
			case 0:
				panic(http.ErrAbortHandler)
			case 1:
				time.Sleep(4 * soon)
			}
			_, _ = w.Write(large[:rand.IntN(2)*rand.IntN(len(large))])
			_, _ = io.WriteString(w, r.URL.Path)
		}
		a := &arrivals{try: tries{}}
		for i := range 8 {
			a.try[i+1] = any
		}
		r := a.start(t, nodes, secure)
		client := r.client()
		var wait sync.WaitGroup
		for i := range 16 {
			wait.Go(func() {
				for k := range 25 {
					path := fmt.Sprintf("/%d/%d", i, k)
					got := []byte(r.ask(client, "GET", path, ""))
					body, whole := bytes.CutSuffix(got, []byte(path))
					if string(got) != "502" && (!whole || !bytes.Equal(body, large[:len(body)])) {
						t.Errorf("%s: %d bytes, the end %.80q", path, len(got), got[max(0, len(got)-80):])
					}
				}
			})
		}
		wait.Wait()
		if n := r.e.routeTraffic().Retried; n < 50 {
			t.Errorf("%d second tries", n)
		}
		r.settle()
	})
}
