package http1

import (
	"fmt"
	"strings"
	"testing"
)

// show is a head in words.
func show(h *Head) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s path=%s query=%s host=%s 1.%d len=%d", h.Method, h.Target, h.Path, h.Query, h.Host, h.Minor, h.Length)
	for _, flag := range []struct {
		on   bool
		name string
	}{{h.Close, "close"}, {h.Expect, "expect"}, {h.Trailers, "trailers"}, {h.Upgrade != nil, "upgrade=" + string(h.Upgrade)}} {
		if flag.on {
			s.WriteString(" " + flag.name)
		}
	}
	return s.String()
}

func TestParseRequest(t *testing.T) {
	tests := []struct{ in, want string }{
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / path=/ query= host=a 1.1 len=0"},
		{"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / path=/ query= host=a 1.1 len=0"},
		{"GET /a%20b?q=1?2&%zz HTTP/1.1\r\nhOST:a.example:80\t \r\n\r\n", "GET /a%20b?q=1?2&%zz path=/a%20b query=q=1?2&%zz host=a.example:80 1.1 len=0"},
		{"GET /a HTTP/1.0\r\n\r\n", "GET /a path=/a query= host= 1.0 len=0 close"},
		{"GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET /a path=/a query= host= 1.0 len=0"},
		{"GET / HTTP/1.1\r\nHost:\r\nConnection: x, CLOSE\r\n\r\n", "GET / path=/ query= host= 1.1 len=0 close"},
		{"GET / HTTP/1.1\r\nHost: [::1]:80\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "GET / path=/ query= host=[::1]:80 1.1 len=0 upgrade=websocket"},
		{"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "GET / path=/ query= host=a 1.1 len=0"},
		{"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "GET / path=/ query= host= 1.0 len=0 close"},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0012\r\nExpect: 100-Continue\r\n\r\n", "POST / path=/ query= host=a 1.1 len=12 expect"},
		{"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", "POST / path=/ query= host=a 1.1 len=0"},
		{"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", "POST / path=/ query= host= 1.0 len=1 close"},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTE: gzip;q=0.5, trailers\r\n\r\n", "POST / path=/ query= host=a 1.1 len=-1 trailers"},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n", "POST / path=/ query= host=a 1.1 len=9223372036854775807"},
		{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * path=* query= host=a 1.1 len=0"},
		{"OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS http://b path=* query= host=b 1.1 len=0"},
		{"GET HTTPS://b:443 HTTP/1.1\r\nHost: a\r\n\r\n", "GET HTTPS://b:443 path=/ query= host=b:443 1.1 len=0"},
		{"GET http://b?x/y HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://b?x/y path=/ query=x/y host=b 1.1 len=0"},
		{"GET http://b/x HTTP/1.0\r\n\r\n", "GET http://b/x path=/x query= host=b 1.0 len=0 close"},
		{"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", "CONNECT b:443 path= query= host=b:443 1.1 len=0"},
		{"GET //a//b HTTP/1.1\r\nHost: a\r\n\r\n", "GET //a//b path=//a//b query= host=a 1.1 len=0"},
	}
	for _, test := range tests {
		var h Head
		n, err := ParseRequest([]byte(test.in+"next"), &h)
		if err != nil || n != len(test.in) || show(&h) != test.want {
			t.Errorf("%q:\n%d of %d %v\n%s\n%s", test.in, n, len(test.in), err, show(&h), test.want)
		}
	}
}

func TestParseRequestAllocatesNothing(t *testing.T) {
	b := []byte(browserRequest)
	var h Head
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ParseRequest(b, &h); err != nil {
			t.Fatal(err)
		}
		for i := range h.Fields {
			h.Hop(i)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

const (
	wrkRequest     = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
	browserRequest = "GET /static/app.js?v=1234 HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive, x-one\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
		"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\nX-One: 1\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nSec-Fetch-Mode: navigate\r\n\r\n"
)

func BenchmarkParseRequest(b *testing.B) {
	for name, request := range map[string]string{"wrk": wrkRequest, "browser": browserRequest} {
		b.Run(name, func(b *testing.B) {
			in := []byte(request)
			var h Head
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				if _, err := ParseRequest(in, &h); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
