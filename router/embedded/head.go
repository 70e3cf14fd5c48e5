package embedded

import (
	"bytes"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"github.com/bootandshoot/release/router/embedded/http1"
)

// view is the bytes as a string that lives no longer than they do.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// clientOf is the address that a request is for. A trusted proxy in front names it in X-Forwarded-For, whose entries are
// read from the right until one is not a trusted proxy's.
func (p *path) clientOf(peer netip.Addr, req *http1.Head) netip.Addr {
	peer = peer.Unmap().WithZone("")
	if len(p.trusted) == 0 || !p.trusted.contain(peer) {
		return peer
	}
	for i := len(req.Fields) - 1; i >= 0; i-- {
		if req.Fields[i].Known != http1.XForwardedFor {
			continue
		}
		rest := req.Fields[i].Value
		for len(rest) > 0 {
			var last []byte
			if k := bytes.LastIndexByte(rest, ','); k >= 0 {
				rest, last = rest[:k], rest[k+1:]
			} else {
				rest, last = nil, rest
			}
			a, err := netip.ParseAddr(string(bytes.TrimSpace(last)))
			if err != nil {
				return peer // nobody's address: what is left of it was not written by a proxy that we trust
			}
			if peer = a.Unmap().WithZone(""); !p.trusted.contain(peer) {
				return peer
			}
		}
	}
	return peer
}

// appendRequest writes the head that nodes see. What says where a request came from is ours alone, unless a trusted proxy
// says it: then we add to it. body is its length, http1.Chunked, or below that for none.
func (x *exchange) appendRequest(dst []byte, length int64, expect bool) []byte {
	req := x.req
	dst = append(dst, req.Method...)
	dst = append(dst, ' ')
	dst = req.AppendTarget(dst)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, req.Host...)
	dst = append(dst, "\r\n"...)
	trusted := len(x.route.trusted) > 0 && x.route.trusted.contain(x.peer.Addr().Unmap().WithZone(""))
	var chain, told []byte // X-Forwarded-For and Forwarded of a trusted proxy
	var host, proto bool
	for i := range req.Fields {
		f := &req.Fields[i]
		switch f.Known {
		case http1.Host, http1.ContentLength, http1.TransferEncoding, http1.Expect, http1.Upgrade, http1.TE, http1.XRelease, http1.XReleaseKey:
			continue
		case http1.XForwardedFor:
			if trusted {
				chain = joinList(chain, f.Value)
			}
			continue
		case http1.Forwarded:
			if trusted {
				told = joinList(told, f.Value)
			}
			continue
		case http1.XForwardedHost, http1.XForwardedPort, http1.XForwardedProto, http1.XForwardedOther, http1.XRealIP:
			if !trusted || bytes.IndexByte(f.Name, '_') >= 0 {
				continue // also what only looks like one of them
			}
			host = host || f.Known == http1.XForwardedHost
			proto = proto || f.Known == http1.XForwardedProto || f.Known == http1.XForwardedPort
		case http1.Traceparent, http1.Tracestate:
			if x.span != nil {
				continue
			}
		default:
			if req.Hop(i) {
				continue
			}
		}
		dst = append(dst, f.Name...)
		dst = append(dst, ": "...)
		dst = append(dst, f.Value...)
		dst = append(dst, "\r\n"...)
	}
	if x.span != nil {
		dst = x.appendTrace(dst)
	}
	dst = x.appendForwarded(dst, chain, told, host, proto)
	if req.Trailers {
		dst = append(dst, "TE: trailers\r\nConnection: TE\r\n"...)
	}
	if x.asks() {
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: "...)
		dst = append(dst, req.Upgrade...)
		dst = append(dst, "\r\n"...)
	}
	if expect {
		dst = append(dst, "Expect: 100-continue\r\n"...)
	}
	switch {
	case length >= 0:
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, length, 10)
		dst = append(dst, "\r\n"...)
	case length == http1.Chunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// asks says whether a change of protocol is asked of the node. HTTP/2 by upgrade may not be: what is said on it would pass by
// all that is decided here. A client that sends a body first is answered as if it had not asked, which a server may do
// (RFC 9110, 7.8): its body and what comes after the change would be read at once.
func (x *exchange) asks() bool {
	if x.req.Upgrade == nil || x.body.streamed() {
		return false
	}
	for option := range bytes.SplitSeq(x.req.Upgrade, []byte{','}) {
		option = bytes.TrimSpace(option)
		if bytes.EqualFold(option, []byte("h2c")) || hasPrefixFold(view(option), "http/") || hasPrefixFold(view(option), "tls/") {
			return false
		}
	}
	return true
}

// noBody is the length of a request that has none.
const noBody = -3

func joinList(list, more []byte) []byte {
	if len(list) == 0 {
		return append(list, more...)
	}
	list = append(list, ", "...)
	return append(list, more...)
}

// appendForwarded says where the request came from. [RFC 7239]
func (x *exchange) appendForwarded(dst, chain, told []byte, host, proto bool) []byte {
	peer := x.peer.Addr().Unmap().WithZone("")
	dst = append(dst, "X-Forwarded-For: "...)
	if len(chain) > 0 {
		dst = append(dst, chain...)
		dst = append(dst, ", "...)
	}
	dst = peer.AppendTo(dst)
	dst = append(dst, "\r\n"...)
	scheme := "http"
	if x.secure {
		scheme = "https"
	}
	if !host {
		dst = append(dst, "X-Forwarded-Host: "...)
		dst = append(dst, x.req.Host...)
		dst = append(dst, "\r\n"...)
	}
	if !proto {
		dst = http1.AppendField(dst, "X-Forwarded-Proto", scheme)
	}
	if _, port, err := net.SplitHostPort(x.address); err == nil && !proto {
		dst = http1.AppendField(dst, "X-Forwarded-Port", port)
	}
	if len(told) == 0 {
		return dst
	}
	dst = append(dst, "Forwarded: "...)
	dst = append(dst, told...)
	dst = append(dst, ", for="...)
	if peer.Is6() {
		dst = append(append(peer.AppendTo(append(dst, `"[`...)), `]"`...), ";host="...)
	} else {
		dst = append(peer.AppendTo(dst), ";host="...)
	}
	dst = append(dst, '"')
	dst = append(dst, x.req.Host...)
	dst = append(dst, `";proto=`...)
	dst = append(dst, scheme...)
	return append(dst, "\r\n"...)
}

// framing is how a body's end is told to the client.
type framing int

const (
	framedByLength framing = iota // Content-Length, or no body at all
	framedByChunks
	framedByClose
)

// appendAnswer writes the head that the client sees, without the empty line.
func (x *exchange) appendAnswer(dst []byte, h *http1.Head, how framing, minor int) []byte {
	dst = http1.AppendStatusLine(dst, 1, h.Status, h.Reason)
	for i := range h.Fields {
		f := &h.Fields[i]
		switch f.Known {
		case http1.TransferEncoding, http1.Connection, http1.KeepAlive, http1.Upgrade:
			continue
		case http1.ContentLength:
			if how != framedByLength || h.Hop(i) {
				continue
			}
		case http1.Trailer:
			if how != framedByChunks {
				continue
			}
		default:
			if h.Hop(i) {
				continue
			}
		}
		dst = append(dst, f.Name...)
		dst = append(dst, ": "...)
		dst = append(dst, f.Value...)
		dst = append(dst, "\r\n"...)
	}
	if how == framedByChunks {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return x.appendOwn(dst)
}

// appendOwn writes what the router itself tells the client.
func (x *exchange) appendOwn(dst []byte) []byte {
	p := x.route
	if p == nil {
		return dst
	}
	if age := p.hsts(x.secure); age != "" {
		dst = http1.AppendField(dst, "Strict-Transport-Security", age)
	}
	if c := p.cookieFor(x); c != "" {
		dst = http1.AppendField(dst, "Set-Cookie", c)
	}
	return dst
}

// hsts is the value of Strict-Transport-Security, or "".
func (p *path) hsts(secure bool) string {
	if t := p.route.TLS; secure && t != nil && t.HSTS > 0 {
		return "max-age=" + itoa(int64(t.HSTS.Seconds()))
	}
	return ""
}

// cookieFor is the sticky cookie that the client needs, or "".
func (p *path) cookieFor(x *exchange) string {
	if p.sticky == nil || x.target == nil || x.choice.release != "" || x.ruled {
		return "" // where a preview or a rule led is not where the client belongs
	}
	own := x.choice.first
	if own == nil && len(p.weighted) > 0 {
		own = p.weighted[x.choice.index]
	}
	if own == nil {
		return ""
	}
	return p.sticky.setCookie(x.visitor, own.seed, x.start, x.secure)
}
