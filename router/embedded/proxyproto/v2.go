package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

const (
	v2Fixed   = 16      // signature, version and command, family and transport, length of what follows
	v2Longest = 4 << 10 // of what follows; the field could say 65,535, but nobody needs that much
)

var v2Signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// Values of the bytes 13 and 14, and of the types of the records behind the addresses.
const (
	versionBits  = 0x20
	commandLocal = 0x0
	commandProxy = 0x1

	familyNone = 0x0
	familyIPv4 = 0x1
	familyIPv6 = 0x2
	familyUnix = 0x3

	transportNone   = 0x0
	transportStream = 0x1

	typeCRC32C = 0x03
)

// parseV2 reads the binary form.
func parseV2(b []byte) (src, dst netip.AddrPort, n int, err error) {
	if len(b) > 12 && b[12]&0xf0 != versionBits {
		return src, dst, 0, invalid("its version is not 2")
	}
	if len(b) > 12 && b[12]&0x0f > commandProxy {
		return src, dst, 0, invalid("its command is neither LOCAL nor PROXY")
	}
	if len(b) < v2Fixed {
		return src, dst, v2Fixed, ErrMore
	}
	length := int(binary.BigEndian.Uint16(b[14:]))
	if length > v2Longest {
		return src, dst, 0, invalid("it has %d bytes behind the fixed part, and %d are accepted", length, v2Longest)
	}
	n = v2Fixed + length
	local := b[12]&0x0f == commandLocal
	if !local {
		if err := checkFamily(b[13], length); err != nil {
			return src, dst, 0, err
		}
	}
	if len(b) < n {
		return src, dst, n, ErrMore
	}
	if local { // its family and all that follows are to be ignored
		return src, dst, n, nil
	}
	src, dst = addressesV2(b)
	if family := b[13] >> 4; family != familyNone {
		if err := checkRecords(b[:n], v2Fixed+addressLength(family)); err != nil {
			return netip.AddrPort{}, netip.AddrPort{}, 0, err
		}
	}
	return src, dst, n, nil
}

// checkFamily holds the family and transport against the length of what follows.
func checkFamily(b byte, length int) error {
	family, transport := b>>4, b&0x0f
	switch {
	case family > familyUnix:
		return invalid("its address family %d is not known", family)
	case family == familyNone && transport == transportNone:
		return nil // and what follows is ignored
	case family == familyNone || transport != transportStream:
		return invalid("its transport is not a stream's")
	case length < addressLength(family):
		return invalid("its addresses are cut short")
	}
	return nil
}

// addressLength is the length of both addresses and ports.
func addressLength(family byte) int {
	switch family {
	case familyIPv4:
		return 2 * (4 + 2)
	case familyIPv6:
		return 2 * (16 + 2)
	case familyUnix:
		return 2 * 108
	}
	return 0
}

// addressesV2 reads the addresses of a checked header; those that are not IP addresses are left out.
func addressesV2(b []byte) (src, dst netip.AddrPort) {
	var size int
	switch b[13] >> 4 {
	case familyIPv4:
		size = 4
	case familyIPv6:
		size = 16
	default:
		return src, dst
	}
	addrs, ports := b[v2Fixed:], b[v2Fixed+2*size:]
	from, _ := netip.AddrFromSlice(addrs[:size])
	to, _ := netip.AddrFromSlice(addrs[size : 2*size])
	return netip.AddrPortFrom(from.Unmap(), binary.BigEndian.Uint16(ports)),
		netip.AddrPortFrom(to.Unmap(), binary.BigEndian.Uint16(ports[2:]))
}

// checkRecords walks the type-length-value records behind the addresses. Their meaning is not for us, but for the checksum.
func checkRecords(header []byte, at int) error {
	summed := false
	for at < len(header) {
		if len(header)-at < 3 {
			return invalid("a record of it is cut short")
		}
		kind, value := header[at], at+3
		at = value + int(binary.BigEndian.Uint16(header[at+1:]))
		if at > len(header) {
			return invalid("a record of it is cut short")
		}
		if kind != typeCRC32C {
			continue
		}
		if summed || at-value != 4 || !sumFits(header, value) {
			return invalid("its checksum does not fit")
		}
		summed = true
	}
	return nil
}

// sumFits compares the CRC-32C at the given place with that of the header in which that place is zero.
func sumFits(header []byte, at int) bool {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, header[:at])
	sum = crc32.Update(sum, table, []byte{0, 0, 0, 0})
	sum = crc32.Update(sum, table, header[at+4:])
	return sum == binary.BigEndian.Uint32(header[at:])
}
