package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

// v2 builds a header of version 2 from its 13th and 14th byte and what follows the length.
func v2(command, family byte, rest ...[]byte) []byte {
	tail := bytes.Join(rest, nil)
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(tail))), tail...)
}

// record is a type-length-value record.
func record(kind byte, value []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value))), value...)
}

// summed sets the checksum in a header whose last record is an empty one.
func summed(header []byte) []byte {
	binary.BigEndian.PutUint32(header[len(header)-4:], crc32.Checksum(header, crc32.MakeTable(crc32.Castagnoli)))
	return header
}

var (
	four  = []byte{192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb}
	six   = append(append(addr6("2001:db8::7"), addr6("2001:db8::1")...), 0xdc, 0x04, 0x01, 0xbb)
	zeros = make([]byte, 4)
)

func addr6(s string) []byte {
	a := netip.MustParseAddr(s).As16()
	return a[:]
}

func TestParse(t *testing.T) {
	longest6 := "ffff:f:ffff:ffff:ffff:ffff:ffff:ffff"
	tests := []struct {
		name     string
		in       string
		src, dst string // "": the connection's own
	}{
		// The lines of the protocol's text, section 2.1: a usual one, and the longest of each kind.
		{"v1 usual", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324", "192.168.0.11:443"},
		{"v1 longest TCP4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535", "255.255.255.255:65535"},
		{"v1 longest TCP6", "PROXY TCP6 " + longest6 + " " + longest6 + " 65535 65535\r\n", "[" + longest6 + "]:65535", "[" + longest6 + "]:65535"},
		{"v1 short UNKNOWN", "PROXY UNKNOWN\r\n", "", ""},
		{"v1 longest UNKNOWN", "PROXY UNKNOWN " + strings.Repeat("ffff:", 7) + "ffff " + strings.Repeat("ffff:", 7) + "ffff 65535 65535\r\n", "", ""},
		{"v1 UNKNOWN with anything", "PROXY UNKNOWN what ever\r\n", "", ""},
		{"v1 port 0", "PROXY TCP4 192.0.2.7 198.51.100.1 0 0\r\n", "192.0.2.7:0", "198.51.100.1:0"},
		{"v1 compressed", "PROXY TCP6 2001:DB8::7 ::1 1 2\r\n", "[2001:db8::7]:1", "[::1]:2"},
		{"v1 IPv4 in IPv6", "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:c633:6401 1 2\r\n", "192.0.2.7:1", "198.51.100.1:2"},
		{"v2 TCP over IPv4", string(v2(0x21, 0x11, four)), "192.0.2.7:56324", "198.51.100.1:443"},
		{"v2 TCP over IPv6", string(v2(0x21, 0x21, six)), "[2001:db8::7]:56324", "[2001:db8::1]:443"},
		{"v2 IPv4 in IPv6", string(v2(0x21, 0x21, addr6("::ffff:192.0.2.7"), addr6("::ffff:198.51.100.1"), four[8:])), "192.0.2.7:56324", "198.51.100.1:443"},
		{"v2 Unix", string(v2(0x21, 0x31, make([]byte, 216))), "", ""},
		{"v2 unspecified", string(v2(0x21, 0x00)), "", ""},
		{"v2 unspecified with anything", string(v2(0x21, 0x00, []byte("what ever"))), "", ""},
		{"v2 LOCAL", string(v2(0x20, 0x00)), "", ""},
		{"v2 LOCAL with addresses", string(v2(0x20, 0x11, four)), "", ""},
		{"v2 LOCAL with an unknown family", string(v2(0x20, 0xff, []byte("what ever"))), "", ""},
		{"v2 records", string(v2(0x21, 0x11, four, record(0x02, []byte("shop.example")), record(0x04, nil), record(0xea, []byte{1, 2, 3}))), "192.0.2.7:56324", "198.51.100.1:443"},
		{"v2 checksum", string(summed(v2(0x21, 0x11, four, record(0x05, []byte("id")), record(0x03, zeros)))), "192.0.2.7:56324", "198.51.100.1:443"},
		{"v2 longest", string(v2(0x21, 0x11, four, record(0x04, make([]byte, 4096-12-3)))), "192.0.2.7:56324", "198.51.100.1:443"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			src, dst, n, err := Parse([]byte(test.in + "GET / HTTP/1.1\r\n"))
			if err != nil || n != len(test.in) {
				t.Fatalf("n = %d, error %v; want %d", n, err, len(test.in))
			}
			if got := text(src); got != test.src {
				t.Errorf("source %s, want %s", got, test.src)
			}
			if got := text(dst); got != test.dst {
				t.Errorf("destination %s, want %s", got, test.dst)
			}
		})
	}
}

func text(a netip.AddrPort) string {
	if a == (netip.AddrPort{}) {
		return ""
	}
	return a.String()
}

func TestParseRefuses(t *testing.T) {
	wrongSum := summed(v2(0x21, 0x11, four, record(0x03, zeros)))
	wrongSum[20] ^= 1
	tests := map[string]string{
		"no header":                "GET / HTTP/1.1\r\n",
		"a TLS hello":              "\x16\x03\x01\x02\x00",
		"other case":               "proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
		"other end of line":        "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n",
		"CR alone":                 "PROXY TCP4 192.0.2.7 198.51.100.1 1\r2\r\n",
		"two spaces":               "PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n",
		"space at the end":         "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
		"tab":                      "PROXY TCP4 192.0.2.7\t198.51.100.1 1 2\r\n",
		"a field too few":          "PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
		"a field too many":         "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
		"unknown family":           "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
		"no family":                "PROXY \r\n",
		"IPv6 as TCP4":             "PROXY TCP4 ::1 ::1 1 2\r\n",
		"IPv4 as TCP6":             "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
		"leading zero in address":  "PROXY TCP4 192.0.02.7 198.51.100.1 1 2\r\n",
		"leading zero in port":     "PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
		"port too high":            "PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n",
		"negative port":            "PROXY TCP4 192.0.2.7 198.51.100.1 -1 2\r\n",
		"hexadecimal port":         "PROXY TCP4 192.0.2.7 198.51.100.1 0x1 2\r\n",
		"zone":                     "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
		"name for an address":      "PROXY TCP4 localhost 198.51.100.1 1 2\r\n",
		"no end within 107 bytes":  "PROXY UNKNOWN " + strings.Repeat("f", 93),
		"v2 version 1":             string(v2(0x11, 0x11, four)),
		"v2 version 3":             string(v2(0x31, 0x11, four)),
		"v2 unknown command":       string(v2(0x22, 0x11, four)),
		"v2 unknown family":        string(v2(0x21, 0x41, four)),
		"v2 datagrams":             string(v2(0x21, 0x12, four)),
		"v2 family, no transport":  string(v2(0x21, 0x10, four)),
		"v2 transport, no family":  string(v2(0x21, 0x01, four)),
		"v2 addresses cut short":   string(v2(0x21, 0x11, four[:11])),
		"v2 IPv6 cut short":        string(v2(0x21, 0x21, four)),
		"v2 Unix cut short":        string(v2(0x21, 0x31, four)),
		"v2 record cut short":      string(v2(0x21, 0x11, four, []byte{4, 0})),
		"v2 record's value short":  string(v2(0x21, 0x11, four, []byte{4, 0, 1})),
		"v2 too long":              string(v2(0x21, 0x11, four, record(0x04, make([]byte, 4096-12-3+1)))),
		"v2 LOCAL too long":        string(v2(0x20, 0x00, make([]byte, 4097))),
		"v2 wrong checksum":        string(wrongSum),
		"v2 checksum of 3 bytes":   string(v2(0x21, 0x11, four, record(0x03, zeros[:3]))),
		"v2 two checksums":         string(v2(0x21, 0x11, four, record(0x03, zeros), record(0x03, zeros))),
		"v2 signature in one byte": "\r\n\r\n\x00\r\nQUIX\n\x21\x11\x00\x00",
	}
	for name, in := range tests {
		if src, dst, _, err := Parse([]byte(in)); !errors.Is(err, ErrInvalid) || src.IsValid() || dst.IsValid() {
			t.Errorf("%s: %v %v, error %v", name, src, dst, err)
		}
	}
}

// TestParseEarly: what cannot become a header is refused at the first byte that says so.
func TestParseEarly(t *testing.T) {
	for _, in := range []string{"G", "PROXZ", "\r\n\r\nX", "PROXY TCP4 1\x00", "PROXY a\rb", "\r\n\r\n\x00\r\nQUIT\n\x11"} {
		if _, _, _, err := Parse([]byte(in[:len(in)-1])); !errors.Is(err, ErrMore) {
			t.Errorf("%q: %v, want more", in[:len(in)-1], err)
		}
		if _, _, _, err := Parse([]byte(in)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, want invalid", in, err)
		}
	}
}

func TestRead(t *testing.T) {
	for _, header := range []string{"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", string(v2(0x21, 0x11, four, record(4, make([]byte, 300))))} {
		for name, slow := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "data with end": iotest.DataErrReader} {
			in := slow(strings.NewReader(header + "hello"))
			src, _, rest, err := Read(in, make([]byte, MaxLength))
			if err != nil || src.String() != "192.0.2.7:56324" {
				t.Fatalf("%s: %v %v", name, src, err)
			}
			more, _ := io.ReadAll(in)
			if got := string(rest) + string(more); got != "hello" {
				t.Errorf("%s: %q after the header", name, got)
			}
		}
		_, _, _, err := Read(strings.NewReader(header[:20]), make([]byte, MaxLength))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut short: %v", err)
		}
		if _, _, _, err := Read(strings.NewReader(header), make([]byte, 20)); !errors.Is(err, ErrInvalid) {
			t.Errorf("too small a buffer: %v", err)
		}
	}
	if _, _, _, err := Read(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("PROXY UNKNOWN\r\n"))), make([]byte, MaxLength)); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("time out: %v", err)
	}
}

func TestAllocations(t *testing.T) {
	b := v2(0x21, 0x11, four, record(0x02, []byte("shop.example")))
	if n := testing.AllocsPerRun(100, func() { _, _, _, _ = Parse(b) }); n != 0 {
		t.Errorf("version 2: %v allocations", n)
	}
	line := []byte("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n")
	if n := testing.AllocsPerRun(100, func() { _, _, _, _ = Parse(line) }); n > 2 {
		t.Errorf("version 1: %v allocations", n)
	}
}

// FuzzParse holds what any input must fulfil: a header's beginnings ask for more and not for too much, what is refused stays
// refused, and an accepted line says what it was read as.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "PROXY UNKNOWN\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nrest", "PROXY TCP6 ::1 2001:db8::1 1 2\r\n"} {
		f.Add([]byte(s))
	}
	f.Add(v2(0x20, 0))
	f.Add(v2(0x21, 0x21, six, record(4, []byte("x"))))
	f.Add(summed(v2(0x21, 0x11, four, record(0x03, zeros))))
	f.Fuzz(func(t *testing.T, b []byte) {
		src, dst, n, err := Parse(b)
		switch {
		case err == nil:
			if n < 1 || n > len(b) || n > MaxLength || src.IsValid() != dst.IsValid() {
				t.Fatalf("accepted %d of %d bytes, %v %v", n, len(b), src, dst)
			}
			for i := range n {
				_, _, need, err := Parse(b[:i])
				if !errors.Is(err, ErrMore) || need <= i || need > n {
					t.Fatalf("%d of %d bytes: need %d, error %v", i, n, need, err)
				}
			}
			sameLine(t, b[:n], src, dst)
		case errors.Is(err, ErrMore):
			if n <= len(b) || n > MaxLength || len(b) >= MaxLength {
				t.Fatalf("%d bytes: need %d", len(b), n)
			}
		case !errors.Is(err, ErrInvalid):
			t.Fatalf("error of another kind: %v", err)
		default:
			if _, _, _, err := Parse(append(bytes.Clone(b), "\r\nmore"...)); !errors.Is(err, ErrInvalid) {
				t.Fatalf("refused, but not with more behind it: %v", err)
			}
		}
	})
}

// sameLine writes the addresses as a line of version 1 and reads them back.
func sameLine(t *testing.T, header []byte, src, dst netip.AddrPort) {
	if !src.IsValid() || header[0] != 'P' || src.Addr().Is4() != dst.Addr().Is4() {
		return
	}
	family := "TCP6"
	if src.Addr().Is4() {
		family = "TCP4"
	}
	line := fmt.Sprintf("PROXY %s %s %s %d %d\r\n", family, src.Addr(), dst.Addr(), src.Port(), dst.Port())
	if s, d, _, err := Parse([]byte(line)); err != nil || s != src || d != dst {
		t.Fatalf("%q read as %v %v, again as %v %v, %v", header, src, dst, s, d, err)
	}
}
