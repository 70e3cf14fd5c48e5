package proxyproto

import (
	"bytes"
	"net/netip"
)

// v1Longest is the longest line of version 1 with its end: UNKNOWN with two full IPv6 addresses.
const v1Longest = 107

var v1Prefix = []byte("PROXY ")

// parseV1 reads a line such as "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n".
func parseV1(b []byte) (src, dst netip.AddrPort, n int, err error) {
	end := bytes.IndexByte(b[:min(len(b), v1Longest)], '\n')
	switch {
	case end < 0 && len(b) >= v1Longest:
		return src, dst, 0, invalid("no end of the line within %d bytes", v1Longest)
	case end < 0 && !plausibleV1(b):
		return src, dst, 0, invalid("its line has bytes that none has")
	case end < 0:
		return src, dst, len(b) + 1, ErrMore
	case end < len(v1Prefix) || b[end-1] != '\r' || !plausibleV1(b[:end]):
		return src, dst, 0, invalid("its line does not end as it must")
	}
	src, dst, err = fieldsV1(b[len(v1Prefix) : end-1])
	return src, dst, end + 1, err
}

// plausibleV1 tells a line that goes on from other traffic early, so that a client that waits for us is not left waiting.
func plausibleV1(line []byte) bool {
	for i, c := range line {
		if c == '\r' && i == len(line)-1 {
			return true
		}
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// fieldsV1 reads what is between the prefix and the end of the line.
func fieldsV1(line []byte) (src, dst netip.AddrPort, err error) {
	family, rest, _ := bytes.Cut(line, []byte(" "))
	switch string(family) {
	case "UNKNOWN":
		return src, dst, nil
	case "TCP4", "TCP6":
	default:
		return src, dst, invalid("its family is none of TCP4, TCP6 and UNKNOWN")
	}
	var fields [4][]byte
	for i := range fields {
		var more bool
		fields[i], rest, more = bytes.Cut(rest, []byte(" "))
		if more == (i == len(fields)-1) {
			return src, dst, invalid("it has not exactly two addresses and two ports")
		}
	}
	var addrs [2]netip.AddrPort
	for i := range addrs {
		addr, okAddr := addressV1(fields[i], string(family) == "TCP4")
		port, okPort := portV1(fields[i+2])
		if !okAddr || !okPort {
			return src, dst, invalid("an address or port of it is not one")
		}
		addrs[i] = netip.AddrPortFrom(addr, port)
	}
	return addrs[0], addrs[1], nil
}

// addressV1 reads an address of the family. An IPv4 address in the form of an IPv6 one becomes what it stands for.
func addressV1(b []byte, v4 bool) (netip.Addr, bool) {
	if bytes.IndexByte(b, '%') >= 0 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(string(b))
	if err != nil || addr.Is4() != v4 {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// portV1 reads a decimal number up to 65535 without leading zeros.
func portV1(b []byte) (uint16, bool) {
	if len(b) == 0 || len(b) > 5 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	port := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		port = port*10 + int(c-'0')
	}
	return uint16(port), port <= 65535
}
