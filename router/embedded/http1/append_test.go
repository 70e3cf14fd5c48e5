package http1

import "testing"

func TestAppend(t *testing.T) {
	b := appendRequestLine(nil, []byte("GET"), []byte("/x"))
	b = AppendField(b, "Host", []byte("a"))
	b = AppendIntField(b, []byte("Content-Length"), 1<<40)
	b = AppendHeadEnd(b)
	b = AppendStatusLine(b, 0, 200, "OK")
	b = AppendStatusLine(b, 1, 404, []byte(nil))
	b = append(AppendChunkHeader(b, 0x1fE), "data\r\n"...)
	b = AppendLastChunk(b, nil)
	b = AppendLastChunk(b, []Field{{Name: []byte("A"), Value: []byte("b")}})
	want := "GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1099511627776\r\n\r\nHTTP/1.0 200 OK\r\nHTTP/1.1 404 \r\n" +
		"1fe\r\ndata\r\n0\r\n\r\n0\r\nA: b\r\n\r\n"
	if string(b) != want {
		t.Errorf("%q\n%q", b, want)
	}
}

// appendRequestLine appends the first line of an HTTP/1.1 request.
func appendRequestLine(dst, method, target []byte) []byte {
	dst = append(append(dst, method...), ' ')
	return append(append(dst, target...), " HTTP/1.1\r\n"...)
}

func TestAppendTarget(t *testing.T) {
	for in, want := range map[string]string{
		"GET /a?b": "/a?b", "GET http://h/a%2f?b?c": "/a%2f?b?c", "GET http://h": "/", "GET http://h?": "/?", "GET http://h/": "/",
		"OPTIONS *": "*", "OPTIONS https://h": "*", "OPTIONS https://h?": "/?", "OPTIONS http://h/": "/", "CONNECT h:1": "h:1",
	} {
		var h Head
		if _, err := ParseRequest([]byte(in+" HTTP/1.1\r\nHost: h\r\n\r\n"), &h); err != nil || string(h.AppendTarget(nil)) != want {
			t.Errorf("%s: %q %v, want %q", in, h.AppendTarget(nil), err, want)
		}
	}
}
