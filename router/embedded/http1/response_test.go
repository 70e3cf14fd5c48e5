package http1

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func showResponse(h *Head) string {
	s := fmt.Sprintf("1.%d %d %s len=%d", h.Minor, h.Status, h.Reason, h.Length)
	if h.Close {
		s += " close"
	}
	if h.Upgrade != nil {
		s += " upgrade=" + string(h.Upgrade)
	}
	return s
}

func TestParseResponse(t *testing.T) {
	tests := []struct{ method, in, want string }{
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "1.1 200 OK len=5"},
		{"GET", "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n", "1.1 200  len=5"},
		{"GET", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", "1.1 200  len=5"},
		{"GET", "HTTP/1.1 200  a\tb \xff\r\nContent-Length: 0\r\n\r\n", "1.1 200  a\tb \xff len=0"},
		{"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1.1 200 OK len=-1"},
		{"GET", "HTTP/1.1 200 OK\r\n\r\n", "1.1 200 OK len=-2 close"},
		{"GET", "HTTP/1.0 200 OK\r\n\r\n", "1.0 200 OK len=-2 close"},
		{"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", "1.0 200 OK len=-2 close"},
		{"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", "1.0 200 OK len=1"},
		{"GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", "1.0 200 OK len=1 close"},
		{"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\nHost: a\r\nHost: a\r\nExpect: x\r\n\r\n", "1.1 200 OK len=1 close"},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "1.1 200 OK len=0"},
		{"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1.1 200 OK len=0"},
		{"HEAD", "HTTP/1.1 200 OK\r\n\r\n", "1.1 200 OK len=0"},
		{"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "1.1 304 Not Modified len=0"},
		{"GET", "HTTP/1.1 204 No Content\r\n\r\n", "1.1 204 No Content len=0"},
		{"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "1.1 204 No Content len=0"},
		{"POST", "HTTP/1.1 100 Continue\r\n\r\n", "1.1 100 Continue len=0"},
		{"GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "1.1 103 Early Hints len=0"},
		{"GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "1.1 101 Switching Protocols len=0 upgrade=websocket"},
		{"CONNECT", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "1.1 200 OK len=0"},
		{"CONNECT", "HTTP/1.1 407 No\r\nContent-Length: 5\r\n\r\n", "1.1 407 No len=5"},
		{"GET", "HTTP/1.1 999 x\r\nContent-Length: 5\r\n\r\n", "1.1 999 x len=5"},
	}
	for _, test := range tests {
		var h Head
		n, err := ParseResponse([]byte(test.in+"HTTP"), []byte(test.method), &h)
		if err != nil || n != len(test.in) || showResponse(&h) != test.want {
			t.Errorf("%q: %d of %d %v\n%s\n%s", test.in, n, len(test.in), err, showResponse(&h), test.want)
		}
	}
}

func TestParseResponseRefuses(t *testing.T) {
	tests := []struct {
		name, in string
		want     *Error
	}{
		{"empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n", errVersion},
		{"no version", "200 OK\r\n\r\n", errVersion},
		{"ICY", "ICY 200 OK\r\n\r\n", errVersion},
		{"lower case", "http/1.1 200 OK\r\n\r\n", errVersion},
		{"version 2", "HTTP/2 200 OK\r\n\r\n", errVersion},
		{"version 2.0", "HTTP/2.0 200 OK\r\n\r\n", errOtherMajor},
		{"version 1.10", "HTTP/1.10 200 OK\r\n\r\n", errStatusLine},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", errStatusLine},
		{"tab", "HTTP/1.1\t200 OK\r\n\r\n", errStatusLine},
		{"no status", "HTTP/1.1 OK\r\n\r\n", errStatusLine},
		{"two digits", "HTTP/1.1 20 OK\r\n\r\n", errStatusLine},
		{"four digits", "HTTP/1.1 2000 OK\r\n\r\n", errStatusLine},
		{"099", "HTTP/1.1 099 OK\r\n\r\n", errStatusLine},
		{"signed", "HTTP/1.1 +20 OK\r\n\r\n", errStatusLine},
		{"CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n", errStatusLine},
		{"LF in the reason", "HTTP/1.1 200 OK\nX: y\r\n\r\n", errStatusLine},
		{"NUL in the reason", "HTTP/1.1 200 O\x00K\r\n\r\n", errStatusLine},
		{"status line ends in LF", "HTTP/1.1 200\n\r\n", errStatusLine},
		{"folded", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", errFolded},
		{"bare LF", "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", errLineEnd},
		{"space before colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", errSpaceColon},
		{"both framings", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", errBoth},
		{"both framings where no body is", "HTTP/1.1 204 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", errBoth},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", errTwoLengths},
		{"list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", errLength},
		{"another encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", errEncoding},
		{"two encodings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", errTwoEncoding},
		{"encoding in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", errEncoding10},
		{"disguised length", "HTTP/1.1 200 OK\r\nContent_Length: 5\r\n\r\n", errDisguised},
		{"large head", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", MaxHead), errHeadLarge},
		{"large reason", "HTTP/1.1 200 " + strings.Repeat("b", MaxHead), errHeadLarge},
		{"many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("a:\r\n", 201), errManyFields},
	}
	parse := func(b []byte, h *Head) (int, error) { return ParseResponse(b, []byte("GET"), h) }
	for _, test := range tests {
		for _, step := range []int{1 + len(test.in)/1000, len(test.in)} {
			var refused *Error
			n, err := parseSteps(test.in, step, parse, new(Head))
			if !errors.As(err, &refused) || n != 0 || refused.Status != 502 || refused.Reason != test.want.Reason {
				t.Errorf("%s, %d bytes a time: %d %v, want %v", test.name, step, n, err, test.want)
			}
		}
	}
}

// Where no body may be, neither may its length go on: a client that believed it would take the next answer for a body.
func TestHopOfResponse(t *testing.T) {
	for status, want := range map[string]bool{"100": true, "101": true, "204": true, "200": false, "304": false} {
		var h Head
		if _, err := ParseResponse([]byte("HTTP/1.1 "+status+" x\r\nContent-Length: 5\r\n\r\n"), []byte("GET"), &h); err != nil || h.Hop(0) != want {
			t.Errorf("%s: %v %v", status, h.Hop(0), err)
		}
	}
}

const response = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 02 Jun 2025 10:00:00 GMT\r\nContent-Type: text/plain\r\n" +
	"Content-Length: 1024\r\nConnection: keep-alive\r\n\r\n"

func TestParseResponseAllocatesNothing(t *testing.T) {
	b, method := []byte(response), []byte("GET")
	var h Head
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ParseResponse(b, method, &h); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseResponse(b[:100], method, &h); err != ErrMore {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkParseResponse(b *testing.B) {
	in, method := []byte(response), []byte("GET")
	var h Head
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := ParseResponse(in, method, &h); err != nil {
			b.Fatal(err)
		}
	}
}
