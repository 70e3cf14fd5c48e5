package http1

import (
	"slices"
	"testing"
)

func TestHop(t *testing.T) {
	in := "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, X-One ,host,\"x-two\"\r\nContent-Length: 0\r\nX-one: 1\r\nX-Two: 2\r\n" +
		"Connection: keep-alive, content-length,,cookie, Keep@alive\r\nCookie: c\r\nTE: trailers\r\nTrailer: X\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\n" +
		"HTTP2-Settings: a\r\nProxy-Authorization: b\r\nProxy-Authenticate: c\r\nProxy-Connection: d\r\nX-On: 1\r\nX-Forwarded-For: e\r\n\r\n"
	var h Head
	if _, err := ParseRequest([]byte(in), &h); err != nil {
		t.Fatal(err)
	}
	var kept []string
	for i, f := range h.Fields {
		if !h.Hop(i) {
			kept = append(kept, string(f.Name))
		}
	}
	want := []string{"Host", "Content-Length", "X-Two", "Trailer", "X-On", "X-Forwarded-For"}
	if !slices.Equal(kept, want) {
		t.Errorf("forwarded are %q, want %q", kept, want)
	}
	if !h.Close || h.Upgrade != nil || !h.Trailers || string(h.Get(KeepAlive)) != "5" || h.Get(Via) != nil {
		t.Errorf("%+v", h)
	}
}

func TestSameToken(t *testing.T) {
	for a := range 256 {
		for b := range 256 {
			want := a == b || a|0x20 == b|0x20 && a|0x20 >= 'a' && a|0x20 <= 'z'
			if got := sameToken([]byte{byte(a)}, []byte{byte(b)}); got != want {
				t.Fatalf("%#x %#x: %v", a, b, got)
			}
		}
	}
}

// Nothing of one message is left in the next, whatever became of the first.
func TestHeadIsReused(t *testing.T) {
	full := "POST http://b/x?y HTTP/1.1\r\nHost: a\r\nConnection: close, upgrade, z\r\nUpgrade: u\r\nTE: trailers\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
	plain := "GET / HTTP/1.1\r\nHost: c\r\nZ: 1\r\n\r\n"
	for _, first := range []string{full, full[:len(full)-2], full[:40], full[:40] + "\x00", "HTTP/1.1 200 OK\r\n\r\n"} {
		var h, fresh Head
		_, _ = ParseRequest([]byte(first), &h)
		h.Reset()
		if n, err := ParseRequest([]byte(plain), &h); n != len(plain) || err != nil {
			t.Fatal(n, err)
		}
		if _, err := ParseRequest([]byte(plain), &fresh); err != nil || show(&h) != show(&fresh) || h.Hop(1) || len(h.Fields) != 2 {
			t.Errorf("after %q: %s", first, show(&h))
		}
	}
}
