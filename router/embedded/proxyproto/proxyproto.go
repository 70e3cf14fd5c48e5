// Package proxyproto reads the header that a proxy in front puts before a connection's own bytes: the PROXY protocol,
// versions 1 (text) and 2 (binary).
//
// It is strict: what is not exactly a header is an error, never the beginning of the connection's own bytes. It is bounded:
// 107 bytes of version 1, 16 and at most 4,096 of version 2. Whoever calls decides who is trusted to send a header, and gives
// the connection a deadline.
//
// [Willy Tarreau: The PROXY protocol, versions 1 & 2, HAProxy, doc/proxy-protocol.txt]
package proxyproto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// MaxLength is the longest header that is accepted, in bytes.
const MaxLength = v2Fixed + v2Longest

var (
	// ErrMore: the bytes are the beginning of a header and not yet all of it.
	ErrMore = errors.New("PROXY protocol header is not complete")
	// ErrInvalid: the bytes are not a header, and no more bytes would make them one. The connection is closed.
	ErrInvalid = errors.New("invalid PROXY protocol header")
)

// Parse reads the header at the beginning of b. It is n bytes long; what follows is the connection's own. The addresses are
// the client's, and the one it connected to; both are the zero value when the header says that the connection's own ends
// count (version 1 UNKNOWN; version 2 LOCAL, or an address that is not an IP's).
//
// With ErrMore, n is how many bytes there must be at least before it is worth to try again. Other errors wrap ErrInvalid.
func Parse(b []byte) (src, dst netip.AddrPort, n int, err error) {
	switch {
	case begins(b, v1Prefix):
		return parseV1(b)
	case begins(b, v2Signature):
		return parseV2(b)
	}
	return src, dst, 0, invalid("it begins with neither version's signature")
}

// Read reads from r into buf until the header there is whole. What came after it is returned as a part of buf. The end of r
// within a header is io.ErrUnexpectedEOF.
func Read(r io.Reader, buf []byte) (src, dst netip.AddrPort, rest []byte, err error) {
	for filled := 0; ; {
		got, readErr := r.Read(buf[filled:])
		filled += got
		src, dst, n, err := Parse(buf[:filled])
		switch {
		case err == nil:
			return src, dst, buf[n:filled], nil
		case !errors.Is(err, ErrMore):
			return src, dst, nil, err
		case readErr == io.EOF:
			return src, dst, nil, fmt.Errorf("read PROXY protocol header: %w", io.ErrUnexpectedEOF)
		case readErr != nil:
			return src, dst, nil, fmt.Errorf("read PROXY protocol header: %w", readErr)
		case n > len(buf):
			return src, dst, nil, invalid("it is longer than the %d bytes that are read of it", len(buf))
		}
	}
}

// begins says whether b and the signature are the same as far as b goes.
func begins(b, signature []byte) bool {
	if len(b) < len(signature) {
		return bytes.HasPrefix(signature, b)
	}
	return bytes.HasPrefix(b, signature)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
