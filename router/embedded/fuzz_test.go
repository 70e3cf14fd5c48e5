package embedded

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

func tableSeeds(f *testing.F) {
	f.Helper()
	r := routertest.RouteTo("127.0.0.1:8080", router.Fleet{
		ID: "shop/production/web/r1/1", Release: "r1", Weight: 90, Standby: true,
		Nodes: []router.Node{{Name: "a", Address: "127.0.0.1:9000"}, {Name: "b", Address: "[::1]:9000"}},
	})
	r.Hosts, r.Paths = []string{"Shop.example", "*.shop.example"}, []string{"/", "/api/"}
	r.Preview = router.Preview{From: []string{"127.0.0.0/8"}}
	b, err := routertest.TableOf(7, r).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	for _, s := range []string{``, `null`, `{"schema":1}`, `{"schema":2}`, `{"schema":1,"routes":[{"name":"a","listen":":80","tls":{"cert":"/c","key":"/k"}}]}`} {
		f.Add([]byte(s))
	}
}

// Whatever reads as a table is canonical, reads again as the same, compiles, and routes without panicking.
func FuzzTable(f *testing.F) {
	tableSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := router.Decode(b)
		if err != nil {
			return
		}
		once, err := table.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := router.Decode(once)
		if err != nil {
			t.Fatalf("canonical table does not read: %v\n%s", err, once)
		}
		if twice, _ := again.Encode(); !bytes.Equal(once, twice) {
			t.Fatalf("not canonical:\n%s\n%s", once, twice)
		}
		c := newMemory().compile(table, 1)
		for _, l := range c.listens {
			for _, host := range []string{"", "shop.example", "a.shop.example"} {
				if p, ok := l.paths.find(host, "/api/x"); ok {
					p.pick(&choice{random: func() uint64 { return 3 }})
				}
			}
		}
	})
}

// The control API answers anything with 200 or an error that has a code.
func FuzzControlAPI(f *testing.F) {
	for _, path := range []string{"/v1/apply", "/v1/cut", "/v1/upgrade", "/v1/nothing"} {
		f.Add(path, []byte(`{"schema":1}`))
		f.Add(path, []byte(`{"fleet":"a","node":"b"}`))
		f.Add(path, []byte(`[[[`))
	}
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		if path != "/v1/apply" && path != "/v1/cut" && path != "/v1/follow" {
			return // upgrade would start what the fuzzer names
		}
		if table, err := router.Decode(body); err == nil && len(table.Routes) > 0 {
			return // would listen
		}
		cfg := Config{Dir: t.TempDir()}.withDefaults()
		p := &process{cfg: cfg, log: cfg.Log, e: newEngine(cfg), stopping: make(chan struct{}), processors: newProcessors()}
		for _, h := range []http.Handler{p.routes(), p.successorRoutes()} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "http://router"+path, bytes.NewReader(body)))
			if w.Code >= 500 {
				t.Fatalf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	})
}

func FuzzNormalHost(f *testing.F) {
	for _, s := range []string{"a.example:80", "[::1]:80", "A.", "", ":", "[", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m := newMatcher[int]()
		m.add([]string{"*.example"}, nil, 1)
		m.find(normalHost(s), "/")
	})
}
