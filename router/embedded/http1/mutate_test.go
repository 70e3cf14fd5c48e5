package http1

import (
	"slices"
	"strings"
	"testing"
)

// pieces are what messages are put together from, right ones and wrong ones.
var pieces = []string{
	// Line ends and blanks.
	"\r\n", "\n", "\r", "\r\n\r\n", "\n\n", "\r\n ", "\r\n\t", " ", "\t", "\x0b", "\x0c", "\x00", "\x7f", "\x85", "\xa0", "\xff", ":", ": ", " :", ",", ";", "=", "\"", "\\",
	// Start lines.
	"GET", "HEAD", "POST", "OPTIONS", "CONNECT", "PRI", "get", "/", "*", "//", "?", "#", "%", "%41", "%4", "%zz", "@", "..", "http://", "HTTPS://", "http:", "ftp://", "b:80", "[::1]", ":443",
	"HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/0.9", "HTTP/2.0", "HTTP/1.", "http/1.1", "200", "204", "304", "101", "099", "2000", "OK",
	// Fields.
	"Host", "host", "Content-Length", "content_length", "Transfer-Encoding", "transfer-encoding", "Connection", "Upgrade", "Expect", "TE", "Trailer", "Trailers", "Cookie", "X-Forwarded-For", "Pragma", "Cache-Control",
	"chunked", "Chunked", "identity", "gzip, chunked", "chunked, chunked", "close", "keep-alive", "upgrade", "websocket", "100-continue", "trailers", "no-cache", "a", "x-a", "a.example",
	// Lengths and chunks.
	"0", "5", "+5", "-5", "05", "0x5", "5, 5", "9223372036854775807", "9223372036854775808", "7fffffffffffffff", "ffffffffffffffff", "hello", "hell", "0\r\n", "5\r\n", "5;a\r\n", "5;a=\"b\"\r\n", "5 ;a\r\n", "5\n", "0\r\n\r\n", "0\n\n",
}

// templates are right messages, cut into pieces by "|".
var templates = []string{
	"GET| |/|?|a| |HTTP/1.1|\r\n|Host|: |a.example|\r\n|Cookie|: |a|=|5|\r\n|\r\n",
	"GET| |http://|b:80|/|%41| |HTTP/1.1|\r\n|Host|: |a|\r\n|Pragma|: |no-cache|\r\n|\r\n",
	"GET| |/|a|%41|a|%|4|1|a| |HTTP/1.1|\r\n|Host|: |a|\r\n|\r\n",
	"CONNECT| |[::1]|:443| |HTTP/1.1|\r\n|Host|: |a|\r\n|\r\n",
	"OPTIONS| |*| |HTTP/1.1|\r\n|Host|: |a|\r\n|\r\n",
	"GET| |/| |HTTP/1.0|\r\n|Connection|: |keep-alive|, |x-a|\r\n|x-a|: |a|\r\n|\r\n",
	"GET| |/| |HTTP/1.1|\r\n|Host|: |a|\r\n|Connection|: |upgrade|\r\n|Upgrade|: |websocket|\r\n|\r\n",
	"POST| |/| |HTTP/1.1|\r\n|Host|: |a|\r\n|Content-Length|: |5|\r\n|Expect|: |100-continue|\r\n|\r\n|hello|GET",
	"POST| |/| |HTTP/1.1|\r\n|Host|: |a|\r\n|Transfer-Encoding|: |chunked|\r\n|Trailer|: |x-a|\r\n|TE|: |trailers|\r\n|\r\n|5|;|a|=|\"|x|\"|\r\n|hello|\r\n|0|\r\n|x-a|: |a|\r\n|\r\n|GET",
	"HTTP/1.1| |200| |OK|\r\n|Content-Length|: |5|\r\n|Connection|: |close|\r\n|\r\n|hello|HTTP/1.1",
	"HTTP/1.1| |200| |OK|\r\n|Transfer-Encoding|: |chunked|\r\n|\r\n|5|\r\n|hello|\r\n|0|\r\n|x-a|: |a|\r\n|\r\n|HTTP/1.1",
	"HTTP/1.0| |200| |OK|\r\n|Upgrade|: |a|\r\n|\r\n|hello",
	"HTTP/1.1| |304|\r\n|Content-Length|: |5|\r\n|\r\n|HTTP/1.1",
}

// compareAny compares a message as what it seems to be.
func compareAny(t *testing.T, in string, cuts uint64) *message {
	if !strings.HasPrefix(in, "HTTP/") {
		m := compareCuts(t, in, cuts, ParseRequest)
		if m.headErr == nil {
			rewriteRequest(t, m)
		}
		compareRequest(t, in, m)
		return m
	}
	method := []string{"GET", "HEAD"}[cuts%2]
	m := compareCuts(t, in, cuts, func(b []byte, h *Head) (int, error) { return ParseResponse(b, []byte(method), h) })
	compareResponse(t, in, method, m)
	return m
}

// Every right message with every piece replaced by, preceded by, and left out for every other.
func TestMutations(t *testing.T) {
	accepted, all := 0, 0
	try := func(parts ...[]string) {
		m := compareAny(t, strings.Join(slices.Concat(parts...), ""), uint64(all))
		if all++; m.headErr == nil && m.bodyErr == nil {
			accepted++
		}
	}
	for _, template := range templates {
		parts := strings.Split(template, "|")
		try(parts)
		for i := range parts {
			try(parts[:i], parts[i+1:])
			try(parts[:i+1], parts[i:])
			for _, piece := range pieces {
				try(parts[:i], []string{piece}, parts[i:])
				try(parts[:i], []string{piece}, parts[i+1:])
			}
		}
	}
	if accepted < all/10 || accepted > all/2 {
		t.Errorf("%d of %d were accepted: the mutations prove little", accepted, all)
	}
}

// FuzzPieces puts messages together from pieces: each byte is one.
func FuzzPieces(f *testing.F) {
	for _, template := range templates {
		var b []byte
		for part := range strings.SplitSeq(template, "|") {
			if i := slices.Index(pieces, part); i >= 0 {
				b = append(b, byte(i))
			}
		}
		f.Add(b, uint64(len(b)))
	}
	f.Fuzz(func(t *testing.T, b []byte, cuts uint64) {
		var in strings.Builder
		for _, c := range b {
			in.WriteString(pieces[int(c)%len(pieces)])
		}
		compareAny(t, in.String(), cuts)
	})
}
