package embedded

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/bootandshoot/release/router/routertest"
)

const clientTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// Without an exporter the client's trace reaches the node untouched.
func TestTraceHeadersPass(t *testing.T) {
	e := startEngine(t, nil)
	var got atomic.Value
	listen := e.serveNodes(t, routertest.StartNode(t, "a", func(_ http.ResponseWriter, r *http.Request) { got.Store(r.Header.Get("Traceparent")) }))
	fetch(t, "GET", "http://"+listen+"/", "", func(r *http.Request) { r.Header.Set("Traceparent", clientTrace) })
	if got.Load() != clientTrace {
		t.Errorf("%v", got.Load())
	}
}

// With one, the router's span is under the client's, the node's under the router's, and it arrives at the collector.
func TestSpansAreExported(t *testing.T) {
	spans := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		var in coltrace.ExportTraceServiceRequest
		if err := proto.Unmarshal(b, &in); err != nil {
			t.Error(err)
		}
		for _, rs := range in.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					spans <- s.Name + " " + s.String()
				}
			}
		}
	}))
	defer collector.Close()
	e := startEngine(t, func(c *Config) { c.OTLP = collector.URL })
	var err error
	if e.tracer, err = newTracer(t.Context(), e.cfg); err != nil {
		t.Fatal(err)
	}
	var got atomic.Value
	listen := e.serveNodes(t, routertest.StartNode(t, "a", func(_ http.ResponseWriter, r *http.Request) { got.Store(r.Header.Get("Traceparent")) }))
	fetch(t, "GET", "http://"+listen+"/no", "", nil) // not sampled
	fetch(t, "GET", "http://"+listen+"/yes", "", func(r *http.Request) { r.Header.Set("Traceparent", clientTrace) })
	parent, _ := got.Load().(string)
	if !strings.HasPrefix(parent, clientTrace[:36]) || parent == clientTrace {
		t.Errorf("the node saw %q", parent)
	}
	routertest.Eventually(t, "the requests ended", func() bool { return e.inFlight.Load() == 0 }) // their answers came before
	e.tracer.close(5 * time.Second)
	select {
	case s := <-spans:
		if !strings.HasPrefix(s, "GET shop/production/web ") || !strings.Contains(s, "/yes") || !strings.Contains(s, "http.response.status_code") {
			t.Errorf("span %s", s)
		}
	case <-time.After(5 * time.Second):
		t.Error("no span arrived")
	}
	if len(spans) > 0 {
		t.Errorf("one more: %s", <-spans)
	}
}

func TestAccessLogSample(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.AccessLog, c.AccessLogSample = c.Dir+"/access.log", 0.1 })
	x := &exchange{e: e}
	lines := 0
	for range 10000 {
		if x.sampled() {
			lines++
		}
	}
	if lines < 800 || lines > 1200 {
		t.Errorf("%d of 10,000", lines)
	}
	if x.status = 502; !x.sampled() {
		t.Error("a failure has no line")
	}
}
