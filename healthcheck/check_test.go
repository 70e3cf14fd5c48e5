package healthcheck

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// closedAddress is one where nobody listens.
func closedAddress(t *testing.T) (address string, port int) {
	t.Helper()
	l := listen(t)
	_ = l.Close()
	return l.Addr().String(), l.Addr().(*net.TCPAddr).Port
}

// silentAddress is one that takes connections and never says a word.
func silentAddress(t *testing.T) string {
	t.Helper()
	return listen(t).Addr().String()
}

// expect checks a result: ok, or a message with all the parts.
func expect(t *testing.T, r Result, ok bool, parts ...string) {
	t.Helper()
	if r.OK != ok || r.OK != (r.Message == "") {
		t.Fatalf("result %+v, want ok=%t", r, ok)
	}
	if r.At.IsZero() || r.Latency <= 0 {
		t.Errorf("result %+v has no time", r)
	}
	for _, part := range parts {
		if !strings.Contains(r.Message, part) {
			t.Errorf("message %q lacks %q", r.Message, part)
		}
	}
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/bad", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no\x1b[31m database\nsecond line", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/host", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "shop.example" {
			http.Error(w, "host "+r.Host, http.StatusNotFound)
		}
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		for r.Context().Err() == nil {
			_, _ = w.Write(make([]byte, 4096))
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	address := server.Listener.Addr().String()
	tests := []struct {
		name  string
		probe HTTP
		ok    bool
		parts []string
	}{
		{"2xx", HTTP{Path: "/ok"}, true, nil},
		{"path without slash", HTTP{Path: "ok"}, true, nil},
		{"redirect is not followed", HTTP{Path: "/moved"}, false, []string{"GET /moved", address, "302"}},
		{"redirect as asked", HTTP{Path: "/moved", Status: []int{302}}, true, nil},
		{"another status as asked", HTTP{Path: "/bad", Status: []int{200, 503}}, true, nil},
		{"2xx that was not asked", HTTP{Path: "/ok", Status: []int{200}}, false, []string{"answered 204", "wanted 200"}},
		{"none of several", HTTP{Path: "/bad", Status: []int{200, 302}}, false, []string{"answered 503 Service Unavailable, wanted 200 or 302"}},
		{"5xx with its first line", HTTP{Path: "/bad"}, false, []string{"503 Service Unavailable, wanted 200-299: no[31m database"}},
		{"host header", HTTP{Path: "/host", Host: "shop.example"}, true, nil},
		{"the body is not read to its end", HTTP{Path: "/endless"}, false, []string{"500"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := Check(t.Context(), Target{Address: address, Probe: Probe{HTTP: &test.probe}, Params: Params{Timeout: 5 * time.Second}})
			expect(t, r, test.ok, test.parts...)
			if strings.ContainsAny(r.Message, "\n\x1b") {
				t.Errorf("message %q has control characters", r.Message)
			}
		})
	}
}

func TestNobodyAnswersWhereThePortIsAnother(t *testing.T) {
	address, port := closedAddress(t)
	r := Check(t.Context(), Target{Address: address, Port: port - 1, Probe: Probe{TCP: true}, Params: Params{Timeout: 5 * time.Second}})
	expect(t, r, false, address, "does the app listen on $PORT", strconv.Itoa(port-1), "connection refused")
}

func TestNobodyAnswers(t *testing.T) {
	address, port := closedAddress(t)
	want := "no answer at " + address + " ($PORT=" + strconv.Itoa(port) + "): connection refused"
	for name, probe := range map[string]Probe{
		"http": {HTTP: &HTTP{Path: "/"}}, "tcp": {TCP: true}, "grpc": {GRPC: &GRPC{}},
	} {
		t.Run(name, func(t *testing.T) {
			r := Check(t.Context(), Target{Address: address, Port: port, Probe: probe, Params: Params{Timeout: 5 * time.Second}})
			if r.OK || r.Message != want {
				t.Errorf("%+v, want %q", r, want)
			}
		})
	}
}

func TestSilentNodeTimesOut(t *testing.T) {
	address := silentAddress(t)
	for name, probe := range map[string]Probe{"http": {HTTP: &HTTP{Path: "/"}}, "grpc": {GRPC: &GRPC{}}} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			r := Check(t.Context(), Target{Address: address, Probe: probe, Params: Params{Timeout: 50 * time.Millisecond}})
			expect(t, r, false, address)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
	r := Check(t.Context(), Target{Address: address, Probe: Probe{HTTP: &HTTP{}}, Params: Params{Timeout: 50 * time.Millisecond}})
	expect(t, r, false, "timed out")
}

func TestTCP(t *testing.T) {
	expect(t, Check(t.Context(), Target{Address: silentAddress(t), Probe: Probe{TCP: true}}), true)
}

func TestGRPC(t *testing.T) {
	l, service := listen(t), health.NewServer()
	service.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_SERVING)
	service.SetServingStatus("sick", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, service)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	for name, want := range map[string]struct {
		ok   bool
		part string
	}{"": {true, ""}, "shop": {true, ""}, "sick": {false, "NOT_SERVING"}, "absent": {false, "unknown service"}} {
		t.Run("service "+name, func(t *testing.T) {
			target := Target{Address: l.Addr().String(), Probe: Probe{GRPC: &GRPC{Service: name}}, Params: Params{Timeout: 5 * time.Second}}
			expect(t, Check(t.Context(), target), want.ok, want.part)
		})
	}
}

func TestExec(t *testing.T) {
	answer := func(code int, output string, err error) ExecFunc {
		return func(context.Context, []string) (int, string, error) { return code, output, err }
	}
	hang := func(ctx context.Context, _ []string) (int, string, error) {
		<-ctx.Done()
		return -1, "", ctx.Err()
	}
	tests := []struct {
		name string
		exec ExecFunc
		ok   bool
		part string
	}{
		{"exit 0", answer(0, "fine", nil), true, ""},
		{"exit 3", answer(3, "no database\nmore", nil), false, `command "check -v" ended with 3: no database`},
		{"cannot run", answer(-1, "", errors.New("no such file")), false, "no such file"},
		{"hangs", hang, false, "timed out"},
		{"no function", nil, false, "cannot run a command"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := Check(t.Context(), Target{Probe: Probe{Exec: []string{"check", "-v"}}, Exec: test.exec, Params: Params{Timeout: 20 * time.Millisecond}})
			expect(t, r, test.ok, test.part)
		})
	}
}

func TestNoProbe(t *testing.T) {
	expect(t, Check(t.Context(), Target{}), false, "names no probe")
}

// A real server under many probes: goroutines stay within what the places for probes need.
func TestGoroutinesAreBounded(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	const nodes, places = 500, 16
	list := targets(nodes, "")
	for i := range list {
		list[i].Address = server.Listener.Addr().String()
		list[i].Probe = Probe{HTTP: &HTTP{Path: "/"}}
		list[i].Params.Timeout = 10 * time.Second
	}
	before := runtime.NumGoroutine()
	p := NewProber(Options{Concurrency: places})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	p.Set(list)
	deadline, most := time.After(60*time.Second), 0
	for verdicts(p)[Healthy] < nodes {
		select {
		case <-p.Changes():
			most = max(most, runtime.NumGoroutine())
		case <-deadline:
			t.Fatalf("verdicts %v", verdicts(p))
		}
	}
	cancel()
	<-done
	// A probe has itself and two for its connection; the server has two a connection, which may outlive the probe.
	if limit := before + places*12; most > limit {
		t.Errorf("%d goroutines while probing, %d before", most, before)
	}
}
