package healthcheck

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// What one probe costs bounds how many starting nodes can be asked every 25 ms.
func BenchmarkCheck(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, address := range map[string]string{
		"answers": server.Listener.Addr().String(), "refuses": closed.Listener.Addr().String(),
	} {
		b.Run(name, func(b *testing.B) {
			t := Target{Address: address, Probe: Probe{HTTP: &HTTP{Path: "/healthz"}}}
			for b.Loop() {
				if r := Check(b.Context(), t); r.OK != (name == "answers") {
					b.Fatal(r.Message)
				}
			}
		})
	}
}
