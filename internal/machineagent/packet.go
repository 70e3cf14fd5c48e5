package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"time"
)

// A message of DHCP (RFC 2131 section 2, options by RFC 2132), within UDP within IPv4, for a socket that knows no addresses yet.

const (
	serverPort, clientPort = 67, 68
	ipHeader, udpHeader    = 20, 8
	fixedPart              = 240 // of a message, with the magic number
	magic                  = 0x63825363

	discover, offer, request, ack, nak = 1, 2, 3, 5, 6

	optMask, optRouter, optServers, optDomain  = 1, 3, 6, 15
	optRequested, optLease, optType, optServer = 50, 51, 53, 54
	optParameters, optEnd, optPad              = 55, 255, 0
)

// lease is what a network gives a machine.
type lease struct {
	address, mask netip.Addr
	gateway       netip.Addr // invalid: none
	servers       []netip.Addr
	domain        string
	length        time.Duration // 0: for good
	from          netip.Addr    // the server
}

// message is what a server says.
type message struct {
	kind  byte
	lease lease
}

// query is what a client says.
type query struct {
	kind      byte
	id        uint32
	mac       []byte
	have      netip.Addr // the address that it has and wants to keep
	requested netip.Addr // the address that it was offered
	server    netip.Addr // by whom
}

// packet is a query as an IPv4 packet to everybody.
func (q query) packet() []byte {
	m := make([]byte, fixedPart)
	m[0], m[1], m[2] = 1, 1, 6 // a request; Ethernet, with addresses of 6 bytes
	be := binary.BigEndian
	be.PutUint32(m[4:], q.id)
	if q.have.IsValid() {
		copy(m[12:16], q.have.AsSlice())
	} else {
		be.PutUint16(m[10:], 0x8000) // answer to everybody
	}
	copy(m[28:34], q.mac)
	be.PutUint32(m[236:], magic)
	m = append(m, optType, 1, q.kind)
	if q.requested.IsValid() {
		m = append(append(m, optRequested, 4), q.requested.AsSlice()...)
	}
	if q.server.IsValid() {
		m = append(append(m, optServer, 4), q.server.AsSlice()...)
	}
	m = append(m, optParameters, 5, optMask, optRouter, optServers, optDomain, optLease, optEnd)
	for len(m) < 300 { // some servers want the length that BOOTP had
		m = append(m, optPad)
	}
	return wrap(q.have, m)
}

// wrap puts IPv4 and UDP around a message to everybody.
func wrap(from netip.Addr, m []byte) []byte {
	p := make([]byte, ipHeader+udpHeader, ipHeader+udpHeader+len(m))
	be := binary.BigEndian
	p[0], p[8], p[9] = 0x45, 64, 17 // version 4, five words; time to live; UDP
	be.PutUint16(p[2:], uint16(ipHeader+udpHeader+len(m)))
	if from.IsValid() {
		copy(p[12:16], from.AsSlice())
	}
	be.PutUint32(p[16:], 0xffffffff)
	be.PutUint16(p[10:], checksum(p[:ipHeader]))
	be.PutUint16(p[20:], clientPort)
	be.PutUint16(p[22:], serverPort)
	be.PutUint16(p[24:], uint16(udpHeader+len(m))) // no checksum: IPv4 allows that
	return append(p, m...)
}

// checksum is that of the Internet (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

var errNotOurs = errors.New("not an answer to this client")

// parsePacket reads an IPv4 packet that answers the query with that id and Ethernet address.
func parsePacket(p []byte, id uint32, mac []byte) (message, error) {
	be := binary.BigEndian
	if len(p) < ipHeader || p[0]>>4 != 4 || p[9] != 17 {
		return message{}, errNotOurs
	}
	head := int(p[0]&15) * 4
	if head < ipHeader || len(p) < head+udpHeader || be.Uint16(p[head+2:]) != clientPort || be.Uint16(p[6:])&0x3fff != 0 {
		return message{}, errNotOurs
	}
	length := int(be.Uint16(p[head+4:]))
	if length < udpHeader || len(p) < head+length {
		return message{}, errNotOurs
	}
	m := p[head+udpHeader : head+length]
	if len(m) < fixedPart || m[0] != 2 || be.Uint32(m[4:]) != id || !bytes.Equal(m[28:34], mac) || be.Uint32(m[236:]) != magic {
		return message{}, errNotOurs
	}
	got := message{lease: lease{address: netip.AddrFrom4([4]byte(m[16:20]))}}
	return got, got.options(m[fixedPart:])
}

// options reads what follows the fixed part.
func (g *message) options(b []byte) error {
	for len(b) > 0 && b[0] != optEnd {
		if b[0] == optPad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return errors.New("an answer of DHCP is cut off")
		}
		g.option(b[0], b[2:2+int(b[1])])
		b = b[2+int(b[1]):]
	}
	l := &g.lease
	if g.kind == nak {
		return nil
	}
	if !l.mask.IsValid() {
		l.mask = netip.AddrFrom4([4]byte{255, 255, 255, 0})
	}
	if l.address.IsUnspecified() || l.address.IsMulticast() || l.address == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return errors.New("an answer of DHCP has no address")
	}
	return nil
}

func (g *message) option(code byte, v []byte) {
	l := &g.lease
	first := netip.Addr{}
	if len(v) >= 4 {
		first = netip.AddrFrom4([4]byte(v[:4]))
	}
	switch code {
	case optType:
		if len(v) == 1 {
			g.kind = v[0]
		}
	case optMask:
		l.mask = first
	case optRouter:
		l.gateway = first
	case optServer:
		l.from = first
	case optServers:
		for ; len(v) >= 4; v = v[4:] {
			l.servers = append(l.servers, netip.AddrFrom4([4]byte(v[:4])))
		}
	case optLease:
		if len(v) == 4 {
			if n := binary.BigEndian.Uint32(v); n != 0xffffffff {
				l.length = time.Duration(n) * time.Second
			}
		}
	case optDomain:
		if name := string(bytes.TrimRight(v, "\x00")); isDomain(name) {
			l.domain = name
		}
	}
}

// isDomain keeps out what would be another line of a file.
func isDomain(name string) bool {
	return strings.IndexFunc(name, func(r rune) bool {
		return r != '-' && r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) < 0
}
