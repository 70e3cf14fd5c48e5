package embedded

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/bootandshoot/release/router/routertest"
)

// What proxies in front say of where a request came from is extended when the route trusts them, and dropped when it does not; the
// router's own word is Forwarded only where somebody speaks that. [RFC 7239]
func TestForwarded(t *testing.T) {
	const own = `for=127.0.0.1;host="shop.example";proto=http`
	for name, tt := range map[string]struct {
		trusted []string
		told    []string // fields Forwarded
		want    string
		chain   string // X-Forwarded-For
	}{
		"trusted":                 {[]string{"127.0.0.0/8"}, []string{"for=192.0.2.1;proto=https"}, "for=192.0.2.1;proto=https, " + own, "198.51.100.7, 127.0.0.1"},
		"trusted, several fields": {[]string{"10.0.0.0/8", "127.0.0.1/32"}, []string{`for="[2001:db8::1]:4711"`, "for=10.1.2.3, for=10.1.2.4"}, `for="[2001:db8::1]:4711", for=10.1.2.3, for=10.1.2.4, ` + own, "198.51.100.7, 127.0.0.1"},
		"trusted, says nothing":   {[]string{"127.0.0.0/8"}, nil, "", "198.51.100.7, 127.0.0.1"},
		"of another network":      {[]string{"10.0.0.0/8"}, []string{"for=192.0.2.1;proto=https"}, "", "127.0.0.1"},
		"nobody is trusted":       {nil, []string{"for=192.0.2.1", "for=192.0.2.2"}, "", "127.0.0.1"},
	} {
		for kind, start := range map[string]func(*testing.T, string, http.HandlerFunc) *routertest.TestNode{"http/1.1": routertest.StartNode, "h2c": h2cNode} {
			t.Run(name+", "+kind, func(t *testing.T) {
				seen := make(chan http.Header, 1)
				r := startRig(t, false, start(t, "a", func(_ http.ResponseWriter, q *http.Request) { seen <- q.Header.Clone() }))
				defer r.settle()
				r.route.Trusted = tt.trusted
				if kind == "h2c" {
					r.route.Nodes = "h2c"
				}
				var told strings.Builder
				for _, v := range tt.told {
					fmt.Fprintf(&told, "Forwarded: %s\r\n", v)
				}
				r.dial("GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 198.51.100.7\r\n"+told.String()+"\r\n").want(200, "*")
				got := <-seen
				if list := strings.Join(got["Forwarded"], " | "); list != tt.want {
					t.Errorf("Forwarded: %s, want %s", list, tt.want)
				}
				if list := strings.Join(got["X-Forwarded-For"], " | "); list != tt.chain {
					t.Errorf("X-Forwarded-For: %s, want %s", list, tt.chain)
				}
			})
		}
	}
}

// An IPv6 address is in brackets and quotes, and HTTPS is told.
func TestForwardedOfIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 on this machine: ", err)
	}
	_ = l.Close()
	seen := make(chan string, 1)
	r := startRig(t, true, routertest.StartNode(t, "a", func(_ http.ResponseWriter, q *http.Request) { seen <- q.Header.Get("Forwarded") }))
	defer r.settle()
	r.listen = l.Addr().String()
	r.route.Listen, r.route.Trusted = r.listen, []string{"::1/128"}
	r.dial("GET / HTTP/1.1\r\nHost: shop.example:8443\r\nForwarded: for=unknown\r\n\r\n").want(200, "*")
	if got, want := <-seen, `for=unknown, for="[::1]";host="shop.example:8443";proto=https`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
