package routertest

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
)

// featureCases are what routes may ask for beside weights.
func featureCases() []trafficCase {
	return []trafficCase{
		{"sticky by cookie", testStickyCookie},
		{"sessions", testSessions},
		{"sticky by header", testStickyHeader},
		{"sticky by address", testStickyAddress},
		{"rules", testRules},
		{"trusted proxies", testTrusted},
		{"proxy protocol", testProxyProtocol},
		{"tcp", testTCP},
		{"tcp sticky", testTCPSticky},
		{"long connections", testLong},
		{"nodes that failed", testFailed},
		{"limits of nodes", testLimits},
	}
}

// visitor is a client with a cookie.
type visitor struct {
	t      *testing.T
	c      *http.Client
	listen string
	cookie string
}

// visit gives the body, and keeps the cookie.
func (v *visitor) visit() string {
	v.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+v.listen+"/", nil)
	if err != nil {
		v.t.Fatal(err)
	}
	if v.cookie != "" {
		req.Header.Set("Cookie", "a=b; "+v.cookie+"; c=d")
	}
	res, err := v.c.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		v.t.Fatalf("visit: %d %v", res.StatusCode, err)
	}
	if c := res.Cookies(); len(c) > 0 {
		if c[0].Name != "shop" || !c[0].HttpOnly || c[0].Path != "/" || c[0].Secure {
			v.t.Fatalf("cookie %v", res.Header["Set-Cookie"])
		}
		v.cookie = c[0].Name + "=" + c[0].Value
	}
	return string(body)
}

func cookieOf(age time.Duration) *router.Sticky {
	return &router.Sticky{By: router.StickyCookie, Cookie: "shop", Key: strings.Repeat("5a", 32), MaxAge: age}
}

// stickyTable splits between two fleets.
func stickyTable(seq uint64, listen string, s *router.Sticky, weight int, a, b *TestNode, change ...func(*router.Route)) router.Table {
	r := RouteTo(listen, FleetOf(1, 100-weight, a), FleetOf(2, weight, b))
	r.Sticky = s
	for _, do := range change {
		do(&r)
	}
	return TableOf(seq, r)
}

func testStickyCookie(t *testing.T, in Instance) {
	a, b := StartNode(t, "a", nil), StartNode(t, "b", nil)
	listen, c := FreeListen(t), client(t)
	visitors := make([]*visitor, 200)
	for i := range visitors {
		visitors[i] = &visitor{t: t, c: c, listen: listen}
	}
	moved := map[int]bool{}
	for step, weight := range []int{10, 50, 90} {
		mustApply(t, in.Backend, stickyTable(uint64(step+1), listen, cookieOf(time.Hour), weight, a, b))
		now := 0
		for i, v := range visitors {
			first := v.visit()
			if again := v.visit(); again != first {
				t.Fatalf("visitor %d is on %s and on %s at %d %%", i, first, again, weight)
			}
			if moved[i] && first != "b" {
				t.Fatalf("visitor %d came back when the share grew to %d %%", i, weight)
			}
			if first == "b" {
				moved[i] = true
				now++
			}
		}
		if want := len(visitors) * weight / 100; now < want-35 || now > want+35 {
			t.Errorf("%d of %d visitors at %d %%", now, len(visitors), weight)
		}
	}
	forged := &visitor{t: t, c: c, listen: listen, cookie: visitors[0].cookie + "0"}
	forged.visit()
	if forged.cookie == visitors[0].cookie+"0" {
		t.Error("a forged cookie is taken for good")
	}
}

func testSessions(t *testing.T, in Instance) {
	a, b := StartNode(t, "a", nil), StartNode(t, "b", nil)
	listen, c := FreeListen(t), client(t)
	mustApply(t, in.Backend, stickyTable(1, listen, cookieOf(0), 0, a, b))
	old := &visitor{t: t, c: c, listen: listen}
	old.visit()
	mustApply(t, in.Backend, stickyTable(2, listen, cookieOf(0), 100, a, b, func(r *router.Route) { r.Fleets[0].Sessions = true }))
	if got := old.visit(); got != "a" {
		t.Errorf("a session was sent to %s", got)
	}
	if got := (&visitor{t: t, c: c, listen: listen}).visit(); got != "b" {
		t.Errorf("a new visitor was sent to %s", got)
	}
	mustApply(t, in.Backend, stickyTable(3, listen, cookieOf(0), 100, a, b))
	if got := old.visit(); got != "b" {
		t.Errorf("the sessions are over, and a visitor is on %s", got)
	}
}

// spread counts where many clients are, each of whom must be on one fleet.
func spread(t *testing.T, c *http.Client, listen string, count int, who func(*http.Request, int)) (second int) {
	t.Helper()
	for i := range count {
		_, first := get(t, c, listen, func(r *http.Request) { who(r, i) })
		if _, again := get(t, c, listen, func(r *http.Request) { who(r, i) }); again != first {
			t.Fatalf("client %d is on %s and on %s", i, first, again)
		}
		if first == "b" {
			second++
		}
	}
	return second
}

func testStickyHeader(t *testing.T, in Instance) {
	a, b := StartNode(t, "a", nil), StartNode(t, "b", nil)
	listen, c := FreeListen(t), client(t)
	mustApply(t, in.Backend, stickyTable(1, listen, &router.Sticky{By: router.StickyHeader, Header: "X-User"}, 50, a, b))
	if n := spread(t, c, listen, 100, func(r *http.Request, i int) { r.Header.Set("X-User", fmt.Sprint("user", i)) }); n < 25 || n > 75 {
		t.Errorf("%d of 100 users at 50 %%", n)
	}
	before := b.Seen.Load()
	for range 100 {
		get(t, c, listen, nil)
	}
	if n := b.Seen.Load() - before; n < 40 || n > 60 {
		t.Errorf("%d of 100 requests without the header at 50 %%", n)
	}
}

func testStickyAddress(t *testing.T, in Instance) {
	a, b := StartNode(t, "a", nil), StartNode(t, "b", nil)
	listen, c := FreeListen(t), client(t)
	mustApply(t, in.Backend, stickyTable(1, listen, &router.Sticky{By: router.StickyAddress}, 50, a, b,
		func(r *router.Route) { r.Trusted = []string{"127.0.0.0/8"} }))
	if n := spread(t, c, listen, 100, func(r *http.Request, i int) { r.Header.Set("X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i)) }); n < 25 || n > 75 {
		t.Errorf("%d of 100 addresses at 50 %%", n)
	}
	if n := spread(t, c, listen, 50, func(r *http.Request, i int) { r.Header.Set("X-Forwarded-For", fmt.Sprintf("2001:db8::%x", i)) }); n != 0 && n != 50 {
		t.Errorf("the addresses of one /64 are on both fleets: %d of 50", n)
	}
}

func testRules(t *testing.T, in Instance) {
	a, b, d := StartNode(t, "a", nil), StartNode(t, "b", nil), StartNode(t, "d", nil)
	listen, c := FreeListen(t), client(t)
	one, two, three := FleetOf(1, 100, a), FleetOf(2, 0, b), FleetOf(3, 0, d)
	r := RouteTo(listen, one, two, three)
	r.Rules = []router.Rule{
		{Headers: map[string]string{"X-Team": "us"}, Fleet: "shop/production/web/r9/1"},
		{Headers: map[string]string{"X-Team": "us"}, Fleet: two.ID},
		{Headers: map[string]string{"X-Odd": `it's "50%" of $HOME \ #1`}, Fleet: two.ID},
		{Headers: map[string]string{"X-Any": ""}, Cookies: map[string]string{"beta": "1"}, Fleet: three.ID},
		{Cookies: map[string]string{"Beta": ""}, Fleet: two.ID},
		{Paths: []string{"/new", "/fresh/"}, From: []string{"127.0.0.0/8"}, Fleet: three.ID},
		{Paths: []string{"/far"}, From: []string{"192.0.2.0/24"}, Fleet: three.ID},
	}
	tests := []struct {
		name, want string
		change     func(*http.Request)
	}{
		{"nothing", "a", func(*http.Request) {}},
		{"a header, by the second rule", "b", func(r *http.Request) { r.Header.Set("X-Team", "us") }},
		{"another value", "a", func(r *http.Request) { r.Header.Set("X-Team", "usa") }},
		{"the second of two values", "b", func(r *http.Request) { r.Header["X-Team"] = []string{"them", "us"} }},
		{"an odd value", "b", func(r *http.Request) { r.Header.Set("X-Odd", `it's "50%" of $HOME \ #1`) }},
		{"half of a rule", "a", func(r *http.Request) { r.Header.Set("X-Any", "x") }},
		{"a whole rule", "d", func(r *http.Request) { r.Header.Set("X-Any", "x"); r.Header.Set("Cookie", "a=b; beta=1") }},
		{"a cookie of any value", "b", func(r *http.Request) { r.Header.Set("Cookie", "Beta=x") }},
		{"a cookie of another name", "a", func(r *http.Request) { r.Header.Set("Cookie", "beta=x") }},
		{"a path", "d", func(r *http.Request) { r.URL.Path = "/new" }},
		{"below a path", "d", func(r *http.Request) { r.URL.Path = "/fresh/x" }},
		{"beside a path", "a", func(r *http.Request) { r.URL.Path = "/newer" }},
		{"from elsewhere", "a", func(r *http.Request) { r.URL.Path = "/far" }},
	}
	mustApply(t, in.Backend, TableOf(1, r))
	for _, tt := range tests {
		if _, got := get(t, c, listen, tt.change); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	// A rule comes and goes with its fleet.
	for seq := range uint64(4) {
		r.Rules[0].Fleet = []string{three.ID, "shop/production/web/r9/1"}[seq%2]
		mustApply(t, in.Backend, TableOf(seq+2, r))
		if _, got := get(t, c, listen, func(r *http.Request) { r.Header.Set("X-Team", "us") }); got != []string{"d", "b"}[seq%2] {
			t.Errorf("after table %d: %s", seq+2, got)
		}
	}
}

// seenBy answers with what the node sees of where a request came from.
func seenBy(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s|%s|%s|%s", strings.Join(r.Header.Values("X-Forwarded-For"), ", "), r.Header.Get("X-Forwarded-Proto"),
		r.Header.Get("X-Forwarded-Host"), r.Header.Get("X-Real-Ip"))
}

func testTrusted(t *testing.T, in Instance) {
	a, b := StartNode(t, "a", seenBy), StartNode(t, "b", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "preview") })
	listen, c := FreeListen(t), client(t)
	sum := sha256.Sum256([]byte("key"))
	table := func(seq uint64, trusted ...string) router.Table {
		r := RouteTo(listen, FleetOf(1, 100, a), FleetOf(2, 0, b))
		r.Trusted = trusted
		r.Preview = router.Preview{From: []string{"192.0.2.0/24"}, KeySHA256: hex.EncodeToString(sum[:])}
		return TableOf(seq, r)
	}
	ask := func(forwarded string, release bool) string {
		_, body := get(t, c, listen, func(r *http.Request) {
			r.Header.Set("X-Forwarded-For", forwarded)
			r.Header.Set("X-Forwarded-Proto", "https")
			r.Header.Set("X-Forwarded-Host", "front.example")
			r.Header.Set("X-Real-Ip", "198.51.100.9")
			if release {
				r.Header.Set("X-Release", "r2")
			}
		})
		return body
	}
	tests := []struct {
		name, forwarded, want string
		trusted               []string
		release               bool
	}{
		{"nobody is trusted", "192.0.2.1", "127.0.0.1|http|" + listen + "|", nil, true},
		{"somebody else is", "192.0.2.1", "127.0.0.1|http|" + listen + "|", []string{"10.0.0.0/8"}, true},
		{"a trusted proxy", "203.0.113.1", "203.0.113.1, 127.0.0.1|https|front.example|198.51.100.9", []string{"127.0.0.0/8"}, false},
		{"its client may see a preview", "192.0.2.1", "preview", []string{"127.0.0.0/8"}, true},
		{"its client may not", "203.0.113.1", "203.0.113.1, 127.0.0.1|https|front.example|198.51.100.9", []string{"127.0.0.0/8"}, true},
		{"the client says it itself", "192.0.2.1, 203.0.113.1", "192.0.2.1, 203.0.113.1, 127.0.0.1|https|front.example|198.51.100.9", []string{"127.0.0.0/8"}, true},
		{"two trusted proxies", "192.0.2.1, 10.1.2.3", "preview", []string{"127.0.0.0/8", "10.0.0.0/8"}, true},
	}
	for i, tt := range tests {
		mustApply(t, in.Backend, table(uint64(i+1), tt.trusted...))
		if got := ask(tt.forwarded, tt.release); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func testProxyProtocol(t *testing.T, in Instance) {
	a := StartNode(t, "a", seenBy)
	listen := FreeListen(t)
	r := RouteTo(listen, FleetOf(1, 100, a))
	r.ProxyProtocol, r.Trusted = true, []string{"127.0.0.0/8"}
	mustApply(t, in.Backend, TableOf(1, r))
	conn, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "PROXY TCP4 203.0.113.7 192.0.2.2 4711 80\r\nGET / HTTP/1.1\r\nHost: shop\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); !strings.HasPrefix(string(body), "203.0.113.7|") {
		t.Errorf("the node sees %q", body)
	}
}

// talker is a TCP server that says its name, then says everything again.
func talker(t *testing.T, name string) *TestNode {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &TestNode{Name: name, Address: l.Addr().String()}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				fmt.Fprintln(conn, name)
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return n
}

// hear connects and gives the name.
func hear(t *testing.T, listen string) (string, net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	in := bufio.NewReader(conn)
	name, err := in.ReadString('\n')
	if err != nil {
		return "", conn, in
	}
	return strings.TrimSpace(name), conn, in
}

func testTCP(t *testing.T, in Instance) {
	a, b := talker(t, "a"), talker(t, "b")
	listen := FreeListen(t)
	table := func(seq uint64, fleets ...router.Fleet) router.Table {
		r := RouteTo(listen, fleets...)
		r.Protocol = router.TCP
		return TableOf(seq, r)
	}
	mustApply(t, in.Backend, table(1, FleetOf(1, 80, a), FleetOf(2, 20, b)))
	second := 0
	for range 200 {
		name, conn, _ := hear(t, listen)
		_ = conn.Close()
		if name == "b" {
			second++
		}
	}
	if second < 35 || second > 45 {
		t.Errorf("%d of 200 connections at 20 %%", second)
	}
	mustApply(t, in.Backend, table(2, FleetOf(1, 100, a), FleetOf(2, 0, b)))
	name, conn, reader := hear(t, listen)
	fmt.Fprintln(conn, "hello")
	if said, err := reader.ReadString('\n'); name != "a" || err != nil || said != "hello\n" {
		t.Fatalf("talk with %s: %q %v", name, said, err)
	}
	mustApply(t, in.Backend, table(3, FleetOf(2, 100, b)))
	if name, _, _ := hear(t, listen); name != "b" {
		t.Errorf("a new connection is with %q", name)
	}
	fmt.Fprintln(conn, "still there")
	if said, err := reader.ReadString('\n'); err != nil || said != "still there\n" {
		t.Errorf("a connection over a change of tables: %q %v", said, err)
	}
	if n, there := nodeOf(edgeOf(t, in.Backend), a); !there || n.InFlight != 1 || n.Long != 1 {
		t.Errorf("the node that left: %+v, reported %v", n, there)
	}
	mustApply(t, in.Backend, table(4, FleetOf(2, 100)))
	if name, _, _ := hear(t, listen); name != "" {
		t.Errorf("without nodes a connection is with %q", name)
	}
}

func testTCPSticky(t *testing.T, in Instance) {
	a, b := talker(t, "a"), talker(t, "b")
	listen := FreeListen(t)
	r := RouteTo(listen, FleetOf(1, 50, a), FleetOf(2, 50, b))
	r.Protocol, r.Sticky = router.TCP, &router.Sticky{By: router.StickyAddress}
	mustApply(t, in.Backend, TableOf(1, r))
	first, _, _ := hear(t, listen)
	for range 20 {
		if name, _, _ := hear(t, listen); name != first {
			t.Fatalf("one address is with %s and with %s", first, name)
		}
	}
}

func testLong(t *testing.T, in Instance) {
	var open atomic.Int64
	a := StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Add(-1)
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	b := StartNode(t, "b", nil)
	listen, c := FreeListen(t), client(t)
	mustApply(t, in.Backend, TableOf(1, RouteTo(listen, FleetOf(1, 100, a))))
	for range 5 {
		res, err := c.Get("http://" + listen + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
	}
	table := TableOf(2, RouteTo(listen, FleetOf(2, 100, b)))
	mustApply(t, in.Backend, table)
	if n, there := nodeOf(edgeOf(t, in.Backend), a); !there || n.Long != 5 || n.InFlight != 5 {
		t.Fatalf("the node that left: %+v, reported %v", n, there)
	}
	table.Version.Seq++
	table.Closing = []router.Closing{{Fleet: "shop/production/web/r1/1", Node: "a", Within: 200 * time.Millisecond}}
	mustApply(t, in.Backend, table)
	var last router.NodeTraffic
	defer func() {
		if t.Failed() {
			t.Logf("last seen: %+v; %d are open at the node", last, open.Load())
		}
	}()
	Eventually(t, "the long connections are ended and counted", func() bool {
		if n, there := nodeOf(edgeOf(t, in.Backend), a); there {
			last = n
		} else {
			last.InFlight = 0 // who left is reported for as long as it has requests
		}
		return last.InFlight == 0 && last.Cut == 5 && open.Load() == 0
	})
}

func testLimits(t *testing.T, in Instance) {
	const asked = 12
	var now, most atomic.Int64
	finish := make(chan struct{})
	a := StartNode(t, "a", func(http.ResponseWriter, *http.Request) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		<-finish
	})
	listen, c := FreeListen(t), client(t)
	r := RouteTo(listen, FleetOf(1, 100, a))
	r.Balance = router.Balance{MaxInFlight: 1, MaxQueue: 2, QueueWait: time.Minute}
	mustApply(t, in.Backend, TableOf(1, r))
	codes := make(chan int, asked)
	for range asked {
		go func() {
			res, err := c.Get("http://" + listen + "/")
			if err != nil {
				t.Errorf("get: %v", err)
				codes <- 0
				return
			}
			_ = res.Body.Close()
			codes <- res.StatusCode
		}()
	}
	// One is under way and two wait; requests that come at the very same time may slip in.
	refused := 0
	for refused < asked-6 {
		if code := <-codes; code != http.StatusServiceUnavailable {
			t.Fatalf("a request over the limits: %d", code)
		}
		refused++
	}
	close(finish)
	served := 0
	for range asked - refused {
		switch code := <-codes; code {
		case 200:
			served++
		case http.StatusServiceUnavailable:
		default:
			t.Errorf("a request: %d", code)
		}
	}
	if served < 3 || most.Load() != 1 {
		t.Errorf("%d of %d were served, %d at a time; want at least 3, 1 at a time", served, asked, most.Load())
	}
}
