package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"testing"

	"golang.org/x/net/websocket"
)

// frame builds a frame; length is that of the payload that follows the header.
func frame(first byte, masked bool, length int) []byte {
	mask := byte(0)
	if masked {
		mask = maskBit
	}
	var b []byte
	switch {
	case length < 126:
		b = []byte{first, mask | byte(length)}
	case length < 1<<16:
		b = binary.BigEndian.AppendUint16([]byte{first, mask | 126}, uint16(length))
	default:
		b = binary.BigEndian.AppendUint64([]byte{first, mask | 127}, uint64(length))
	}
	if masked {
		b = append(b, 1, 2, 3, 4)
	}
	return append(b, bytes.Repeat([]byte{0x81}, length)...)
}

// borders reads a whole stream frame by frame: the offsets between frames, and the one from which on it is no stream of
// frames, or -1.
func borders(b []byte, masked bool) (at []int, broken int) {
	at = []int{0}
	pos, parts, closed := 0, false, false
	for {
		rest := b[pos:]
		if len(rest) < 2 {
			return at, -1
		}
		fin, op, code := rest[0]>>7 == 1, rest[0]&15, int(rest[1]&127)
		size, head := uint64(code), 2
		switch code {
		case 126:
			head = 4
		case 127:
			head = 10
		}
		hasMask := rest[1]>>7 == 1
		whole := head
		if hasMask {
			whole += 4
		}
		if len(rest) < whole {
			return at, -1
		}
		switch code {
		case 126:
			size = uint64(binary.BigEndian.Uint16(rest[2:]))
		case 127:
			size = binary.BigEndian.Uint64(rest[2:])
		}
		wrong := closed || hasMask != masked || code == 126 && size < 126 || code == 127 && (size < 65536 || size>>63 == 1)
		switch op {
		case 0:
			wrong = wrong || !parts
			parts = !fin
		case 1, 2:
			wrong = wrong || parts
			parts = !fin
		case 8, 9, 10:
			wrong = wrong || !fin || size > 125
		default:
			wrong = true
		}
		if wrong {
			return at, pos + whole
		}
		closed = op == 8
		if uint64(len(rest)-whole) < size {
			return at, -1
		}
		pos += whole + int(size)
		at = append(at, pos)
	}
}

// check feeds the stream in pieces and holds the tracker against borders.
func check(t *testing.T, stream []byte, masked bool, piece int) {
	t.Helper()
	at, broken := borders(stream, masked)
	tracker := Tracker{Masked: masked}
	for pos := 0; ; {
		gone := broken >= 0 && pos >= broken
		if tracker.Broken() != gone {
			t.Fatalf("broken %t after %d bytes of %x, which is broken from %d on", tracker.Broken(), pos, stream, broken)
		}
		i, border := slices.BinarySearch(at, pos)
		if tracker.AtBorder() != (border && !gone) {
			t.Fatalf("border %t after %d bytes of %x with borders %v", tracker.AtBorder(), pos, stream, at)
		}
		want := -1
		if i < len(at) && !gone {
			want = at[i] - pos
		}
		rest := stream[pos:]
		if got := tracker.Cut(rest); got != want {
			t.Fatalf("cut %d after %d bytes of %x, want %d", got, pos, stream, want)
		}
		if want > 0 {
			if got := tracker.Cut(rest[:want-1]); got != -1 {
				t.Fatalf("cut %d after %d bytes, with the border a byte too far", got, pos)
			}
		}
		if len(rest) == 0 {
			return
		}
		n := min(piece, len(rest))
		tracker.Feed(rest[:n])
		pos += n
	}
}

func TestTracker(t *testing.T) {
	tests := map[string]struct {
		frames [][]byte
		masked bool
		broken bool
	}{
		"lengths": {frames: [][]byte{frame(0x81, false, 0), frame(0x82, false, 1), frame(0x82, false, 125), frame(0x82, false, 126),
			frame(0x82, false, 127), frame(0x82, false, 65535), frame(0x82, false, 65536), frame(0x81, false, 3)}},
		"masked": {masked: true, frames: [][]byte{frame(0x81, true, 0), frame(0x82, true, 5), frame(0x82, true, 300), frame(0x82, true, 70000)}},
		"fragments with control frames between": {frames: [][]byte{frame(0x01, false, 3), frame(0x89, false, 4), frame(0x00, false, 200),
			frame(0x8a, false, 0), frame(0x80, false, 1), frame(0x81, false, 1)}},
		"compressed":                  {frames: [][]byte{frame(0xc1, false, 9), frame(0x41, false, 9), frame(0x80, false, 9)}},
		"close":                       {frames: [][]byte{frame(0x81, false, 9), frame(0x88, false, 2)}},
		"after close":                 {frames: [][]byte{frame(0x88, false, 2), frame(0x81, false, 1)}, broken: true},
		"masked by a server":          {frames: [][]byte{frame(0x81, true, 1)}, broken: true},
		"not masked by a client":      {masked: true, frames: [][]byte{frame(0x81, false, 1)}, broken: true},
		"16 bits for a short length":  {frames: [][]byte{{0x82, 126, 0, 125}}, broken: true},
		"64 bits for a short length":  {frames: [][]byte{{0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff}}, broken: true},
		"a length over 63 bits":       {frames: [][]byte{{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}}, broken: true},
		"a fragmented control frame":  {frames: [][]byte{frame(0x09, false, 1)}, broken: true},
		"a long control frame":        {frames: [][]byte{frame(0x89, false, 126)}, broken: true},
		"a continuation of nothing":   {frames: [][]byte{frame(0x80, false, 1)}, broken: true},
		"a message within a message":  {frames: [][]byte{frame(0x01, false, 1), frame(0x81, false, 1)}, broken: true},
		"a reserved opcode":           {frames: [][]byte{frame(0x83, false, 1)}, broken: true},
		"a reserved control opcode":   {frames: [][]byte{frame(0x8b, false, 1)}, broken: true},
		"the longest possible length": {frames: [][]byte{{0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stream := bytes.Join(test.frames, nil)
			for _, piece := range []int{1, 2, 3, 7, 4096, len(stream)} {
				if piece < 100 && len(stream) > 10000 {
					continue
				}
				check(t, stream, test.masked, piece)
			}
			tracker := Tracker{Masked: test.masked}
			tracker.Feed(stream)
			tracker.Feed(frame(0x89, test.masked, 0))
			if tracker.Broken() != (test.broken || name == "close") {
				t.Errorf("broken: %t", tracker.Broken())
			}
		})
	}
}

func TestClosed(t *testing.T) {
	var tracker Tracker
	tracker.Feed(frame(0x81, false, 4))
	if tracker.Closed() {
		t.Error("closed by a text")
	}
	end := AppendClose(nil, GoingAway, nil)
	tracker.Feed(end[:3])
	if tracker.Closed() {
		t.Error("closed by the beginning of a close frame")
	}
	tracker.Feed(end[3:])
	if !tracker.Closed() || tracker.Broken() {
		t.Error("not closed by a close frame")
	}
}

func TestAppendClose(t *testing.T) {
	if got, want := AppendClose([]byte("x"), 1001, nil), []byte("x\x88\x02\x03\xe9"); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	if got, want := AppendClose(nil, 1001, &[4]byte{1, 2, 3, 4}), []byte("\x88\x82\x01\x02\x03\x04\x02\xeb"); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

// TestRealConnection cuts what a real server sends in the middle of a message: the client gets the message whole and then the end.
func TestRealConnection(t *testing.T) {
	message := bytes.Repeat([]byte("hello"), 5000)
	server := httptest.NewServer(websocket.Handler(func(c *websocket.Conn) {
		for websocket.Message.Send(c, message) == nil {
		}
	}))
	defer server.Close()
	upstream, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	near, far := net.Pipe()
	defer near.Close()
	go passAndClose(far, upstream, len(message)*7/2)

	config, err := websocket.NewConfig("ws://shop.example/", "http://shop.example/")
	if err != nil {
		t.Fatal(err)
	}
	client, err := websocket.NewClient(config, near)
	if err != nil {
		t.Fatal(err)
	}
	for whole := 0; ; whole++ {
		var got []byte
		err := websocket.Message.Receive(client, &got)
		if err == io.EOF && whole == 4 { // EOF is how this client shows a close frame
			return
		}
		if err != nil || !bytes.Equal(got, message) {
			t.Fatalf("message %d of %d bytes: %v", whole+1, len(got), err)
		}
	}
}

// passAndClose passes the handshake on, then what the server sends, and ends the connection at the first border after limit bytes.
func passAndClose(client, server net.Conn, limit int) {
	go func() { _, _ = io.Copy(server, client) }()
	var tracker Tracker
	var head []byte
	for buf := make([]byte, 1000); ; {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		b := buf[:n]
		if !bytes.Contains(head, []byte("\r\n\r\n")) {
			old := len(head)
			head = append(head, b...)
			end := bytes.Index(head, []byte("\r\n\r\n"))
			if end < 0 {
				_, _ = client.Write(b)
				continue
			}
			_, _ = client.Write(b[:end+4-old])
			b = b[end+4-old:]
		}
		limit -= len(b)
		if cut := tracker.Cut(b); limit < 0 && cut >= 0 {
			_, _ = client.Write(AppendClose(b[:cut:cut], GoingAway, nil))
			return
		}
		tracker.Feed(b)
		if _, err := client.Write(b); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			return
		}
	}
}

func TestAllocations(t *testing.T) {
	stream := bytes.Join([][]byte{frame(0x01, false, 300), frame(0x89, false, 4), frame(0x80, false, 70000)}, nil)
	n := testing.AllocsPerRun(100, func() {
		var tracker Tracker
		_ = tracker.Cut(stream)
		tracker.Feed(stream)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFeed(b *testing.B) {
	stream := bytes.Repeat(frame(0x82, false, 100), 100)
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		var tracker Tracker
		tracker.Feed(stream)
	}
}

// FuzzTracker compares with reading the whole stream frame by frame.
func FuzzTracker(f *testing.F) {
	f.Add(bytes.Join([][]byte{frame(0x01, false, 3), frame(0x89, false, 4), frame(0x80, false, 200)}, nil), false, 3)
	f.Add(bytes.Join([][]byte{frame(0x81, true, 3), frame(0x88, true, 2)}, nil), true, 1)
	f.Add([]byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}, false, 5)
	f.Fuzz(func(t *testing.T, stream []byte, masked bool, piece int) {
		if piece < 1 || piece > 1<<16 || len(stream) > 1<<12 {
			return
		}
		check(t, stream, masked, piece)
	})
}
