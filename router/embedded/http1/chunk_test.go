package http1

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// dechunk reads a whole body, with the bytes coming in pieces of the given size, each time at another place in memory.
func dechunk(in string, step int) (body string, trailer []Field, used int, err error) {
	var c ChunkReader
	for have := 0; ; {
		data, n, done, err := c.Next([]byte(in[used:have]))
		body += string(data)
		used += n
		switch {
		case errors.Is(err, ErrMore) && have < len(in):
			have = min(have+step, len(in))
		case done || err != nil:
			return body, c.Trailer, used, err
		}
	}
}

func TestChunkReader(t *testing.T) {
	tests := []struct{ in, body, trailer string }{
		{"0\r\n\r\n", "", ""},
		{"00000000\r\n\r\n", "", ""},
		{"5\r\nhello\r\n0\r\n\r\n", "hello", ""},
		{"0000000000000005\r\nhello\r\n0\r\n\r\n", "hello", ""},
		{"a\r\n0123456789\r\nA\r\n\r\n0\r\n\r\n0\r\n\r\n0\r\n\r\n", "0123456789\r\n0\r\n\r\n0\r\n", ""},
		{"5;a;b=c;d=\"x;\\\"\ty\"\r\nhello\r\n0;z\r\n\r\n", "hello", ""},
		{"1\r\na\r\n0\r\nX-Sum: 1\r\nb: \r\n\r\n", "a", "X-Sum=1,b=,"},
		{"1\r\na\r\n0\r\nHost: evil\r\nContent-Length: 5\r\ntransfer-encoding: chunked\r\nX_Forwarded_For: a\r\nX-Forwarded-New: a\r\n" +
			"If-Match: x\r\nCookie: a\r\nAuthorization: b\r\nConnection: close\r\nTrailer: X\r\nok: yes\r\n\r\n", "a", "ok=yes,"},
	}
	for _, test := range tests {
		for step := 1; step <= len(test.in)+1; step++ {
			body, fields, used, err := dechunk(test.in+"GET", step)
			trailer := ""
			for _, f := range fields {
				trailer += fmt.Sprintf("%s=%s,", f.Name, f.Value)
			}
			if err != nil || body != test.body || used != len(test.in) || trailer != test.trailer {
				t.Fatalf("%q step %d: %q %d %q %v", test.in, step, body, used, trailer, err)
			}
		}
	}
}

// chunkRefusals are bodies that no node may see.
var chunkRefusals = []struct {
	name, in string
	want     *Error
}{
	{"no size", "\r\n0\r\n\r\n", errChunkSize},
	{"0x", "0x5\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"plus", "+5\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"minus", "-5\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"minus zero", "-0\r\n\r\n", errChunkSize},
	{"underscore", "1_0\r\n", errChunkSize},
	{"space before", " 5\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"space after", "5 \r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"tab after", "5\t\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"space before extension", "5 ;a\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"vertical tab", "\x0b5\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"NUL", "5\x00\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"comma", "5,\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"letters", "hello\r\n", errChunkSize},
	{"17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"2^63", "8000000000000000\r\n", errChunkSize},
	{"2^64-1", "ffffffffffffffff\r\n", errChunkSize},
	{"2^64+5", "10000000000000005\r\n", errChunkSize},
	{"size ends in LF", "5\nhello\r\n0\r\n\r\n", errLineEnd},
	{"size ends in CR", "5\rhello\r\n0\r\n\r\n", errLineEnd},
	{"size ends in CR CR", "5\r\rhello\r\n0\r\n\r\n", errLineEnd},
	{"bare CR in the line", "5\r;a\r\nhello\r\n0\r\n\r\n", errLineEnd},
	{"extension ends in LF", "5;a\nhello\r\n0\r\n\r\n", errLineEnd},
	{"extension with bare CR", "5;a\rb\r\nhello\r\n0\r\n\r\n", errLineEnd},
	{"extension with LF inside of its value", "5;a=\n\r\nhello\r\n0\r\n\r\n", errChunkExt},
	{"extension with CRLF in quotes", "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n", errChunkExt},
	{"extension with escaped LF", "5;a=\"\\\n\"\r\nhello\r\n0\r\n\r\n", errChunkExt},
	{"extension without name", "5;\r\nhello\r\n0\r\n\r\n", errChunkExt},
	{"extension without value", "5;a=\r\nhello\r\n0\r\n\r\n", errChunkExt},
	{"extension with blanks", "5; a\r\nhello\r\n0\r\n\r\n", errChunkExt},
	{"extension in quotes", "5;\"a\"\r\nhello\r\n0\r\n\r\n", errChunkExt},
	{"text after quotes", "5;a=\"b\"c\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"long extension", "5;" + strings.Repeat("a", maxChunkLine), errChunkLine},
	{"long quotes", "5;a=\"" + strings.Repeat("a", maxChunkLine), errChunkLine},
	{"data too short", "6\r\nhello\r\n0\r\n\r\n", errChunkEnd},
	{"data too long", "4\r\nhello\r\n0\r\n\r\n", errChunkEnd},
	{"data ends in LF", "5\r\nhello\n0\r\n\r\n", errChunkEnd},
	{"data ends in CR", "5\r\nhello\r0\r\n\r\n", errChunkEnd},
	{"data without end", "5\r\nhello0\r\n\r\n", errChunkEnd},
	{"data ends in LF CR", "5\r\nhello\n\r0\r\n\r\n", errChunkEnd},
	{"last chunk ends in LF", "0\n\r\n", errLineEnd},
	{"body ends in LF", "0\r\n\n", errLineEnd},
	{"body ends in CR", "0\r\n\rGET", errLineEnd},
	{"request for a trailer", "0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", errSpaceColon},
	{"folded trailer", "0\r\nA: b\r\n c\r\n\r\n", errFolded},
	{"trailer with LF", "0\r\nA: b\nC: d\r\n\r\n", errLineEnd},
	{"trailer with CR", "0\r\nA: b\rC: d\r\n\r\n", errLineEnd},
	{"trailer with NUL", "0\r\nA: \x00\r\n\r\n", errValue},
	{"trailer with space before colon", "0\r\nA : b\r\n\r\n", errSpaceColon},
	{"disguised trailer", "0\r\nContent_Length: 5\r\n\r\n", errDisguised},
	{"large trailer", "0\r\nA: " + strings.Repeat("b", MaxTrailer), errTrailerLarge},
	{"large trailer of many lines", "0\r\n" + strings.Repeat("A: "+strings.Repeat("b", 195)+"\r\n", 82), errTrailerLarge},
	{"many trailers", "0\r\n" + strings.Repeat("A:\r\n", MaxFields+1), errManyFields},
	{"framing only", strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 20), errOverhead},
}

func TestChunkReaderRefuses(t *testing.T) {
	for _, test := range chunkRefusals {
		for _, step := range []int{1 + len(test.in)/1000, 7, len(test.in)} {
			if _, _, _, err := dechunk(test.in, step); err != error(test.want) || test.want.Status != status(test.want) {
				t.Errorf("%s, %d bytes a time: %v, want %v", test.name, step, err, test.want)
			}
		}
	}
}

// A stream of single bytes is legitimate, however long.
func TestSmallChunks(t *testing.T) {
	in := strings.Repeat("1\r\nx\r\n", 100_000) + "0\r\n\r\n"
	var c ChunkReader
	data := 0
	for b := []byte(in); ; {
		piece, n, done, err := c.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		if data += len(piece); done {
			break
		}
		b = b[n:]
	}
	if data != 100_000 {
		t.Fatal(data)
	}
}

func TestSkip(t *testing.T) {
	var c ChunkReader
	if data, n, _, err := c.Next([]byte("ff\r\nab")); string(data) != "ab" || n != 6 || err != nil || c.left != 253 {
		t.Fatal(string(data), n, err, c.left)
	}
	c.skip(250)
	if data, n, _, err := c.Next([]byte("xyz\r\n0")); string(data) != "xyz" || n != 5 || err != nil || c.left != 0 {
		t.Fatal(string(data), n, err, c.left)
	}
	if _, n, done, err := c.Next([]byte("0\r\n\r\n")); n != 5 || !done || err != nil {
		t.Fatal(n, done, err)
	}
	c.Reset()
	if _, _, _, err := c.Next([]byte("3\r\na")); err != nil {
		t.Fatal(err)
	}
	c.skip(2)
	if _, n, _, err := c.Next([]byte("\r\n0")); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("skipped beyond the chunk")
		}
	}()
	c.skip(1)
}

func TestPeek(t *testing.T) {
	for in, want := range map[string]error{
		"": ErrMore, "5": ErrMore, "5\r": ErrMore, "5\r\n": nil, "5;a": ErrMore, "5;a\r\nxy": nil,
		"x": errChunkSize, "5\n": errLineEnd, "5 ": errChunkSize,
	} {
		var c ChunkReader
		if err := c.Peek([]byte(in)); err != want {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
	}
	after := func(in string) *ChunkReader {
		c := new(ChunkReader)
		if _, n, _, err := c.Next([]byte(in)); n != len(in) || err != nil {
			t.Fatal(n, err)
		}
		return c
	}
	for _, test := range []struct {
		before, in string
		want       error
	}{
		{"5\r\nhel", "", nil}, {"5\r\nhello", "\r", ErrMore}, {"5\r\nhello", "\r\n", ErrMore}, {"5\r\nhello", "\r\n5\r\n", nil}, {"5\r\nhello", "\r\nz", errChunkSize},
		{"5\r\nhello", "0", errChunkEnd}, {"0\r\n", "a", ErrMore}, {"0\r\n", "a ", errSpaceColon}, {"0\r\n", "\r\n", nil},
	} {
		if err := after(test.before).Peek([]byte(test.in)); err != test.want {
			t.Errorf("%q after %q: %v, want %v", test.in, test.before, err, test.want)
		}
	}
}

func TestChunkReaderAllocatesNothing(t *testing.T) {
	in := []byte("400\r\n" + strings.Repeat("a", 1024) + "\r\n0\r\nGrpc-Status: 0\r\n\r\n")
	var c ChunkReader
	if n := testing.AllocsPerRun(100, func() {
		c.Reset()
		for b := in; ; {
			_, n, done, err := c.Next(b)
			if err != nil {
				t.Fatal(err)
			}
			if done {
				return
			}
			b = b[n:]
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkChunkReader(b *testing.B) {
	in := []byte("400\r\n" + strings.Repeat("a", 1024) + "\r\n0\r\n\r\n")
	var c ChunkReader
	b.ReportAllocs()
	for b.Loop() {
		c.Reset()
		for rest, done := in, false; !done; {
			_, n, end, err := c.Next(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest, done = rest[n:], end
		}
	}
}
