package http1

// Known numbers the names of fields that a proxy treats in a way of their own, so that a switch tells them apart. The
// case of a name does not matter.
type Known uint8

// The known names.
const (
	Other Known = iota // any name that is not below

	Host
	ContentLength
	TransferEncoding
	Connection

	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	TE
	Trailer
	Upgrade
	HTTP2Settings
	Expect

	Forwarded
	XForwardedFor
	XForwardedHost
	XForwardedPort
	XForwardedProto
	XForwardedOther // any other X-Forwarded-*, and those that only look like one of this group: X_Forwarded_For, X_Real_IP
	XRealIP
	XRelease
	XReleaseKey
	Via

	Cookie
	SetCookie
	ContentType
	Date
	Server
	StrictTransportSecurity
	Traceparent
	Tracestate

	unknown // one past the last
)

// names has each known name in lower case; constant.
var names = [unknown]string{
	Host: "host", ContentLength: "content-length", TransferEncoding: "transfer-encoding", Connection: "connection",
	KeepAlive: "keep-alive", ProxyConnection: "proxy-connection", ProxyAuthenticate: "proxy-authenticate",
	ProxyAuthorization: "proxy-authorization", TE: "te", Trailer: "trailer", Upgrade: "upgrade",
	HTTP2Settings: "http2-settings", Expect: "expect",
	Forwarded: "forwarded", XForwardedFor: "x-forwarded-for", XForwardedHost: "x-forwarded-host",
	XForwardedPort: "x-forwarded-port", XForwardedProto: "x-forwarded-proto", XRealIP: "x-real-ip",
	XRelease: "x-release", XReleaseKey: "x-release-key", Via: "via",
	Cookie: "cookie", SetCookie: "set-cookie", ContentType: "content-type", Date: "date", Server: "server",
	StrictTransportSecurity: "strict-transport-security", Traceparent: "traceparent", Tracestate: "tracestate",
}

// forwardedPrefix begins the names of a family that is open.
const forwardedPrefix = "x-forwarded-"

// ofLength has the known names of each length; constant.
var ofLength = groupNames()

func groupNames() (t [32][]Known) {
	for k, name := range names {
		if name != "" {
			t[len(name)] = append(t[len(name)], Known(k))
		}
	}
	return t
}

// String is the name in lower case, "" for Other and XForwardedOther.
func (k Known) String() string {
	if k < unknown {
		return names[k]
	}
	return ""
}

// lookup is the number of a name, which must be a token.
func lookup(name []byte) Known {
	if len(name) < len(ofLength) {
		for _, k := range ofLength[len(name)] {
			if fold(name, names[k]) {
				return k
			}
		}
	}
	if len(name) > len(forwardedPrefix) && fold(name[:len(forwardedPrefix)], forwardedPrefix) {
		return XForwardedOther
	}
	return Other
}

// lookupDisguised is lookup for a name with underscores. Gateways that make variables of names (CGI, WSGI, FastCGI)
// take them for dashes, so that such a field could pass a proxy and then count as framing or as the proxy's own word:
// framing is refused, and what says where a request came from is told apart.
func lookupDisguised(name []byte) (Known, error) {
	var dashed [32]byte
	if k := lookup(name); k != Other || len(name) > len(dashed) {
		return k, nil
	}
	n := copy(dashed[:], name)
	for i, c := range dashed[:n] {
		if c == '_' {
			dashed[i] = '-'
		}
	}
	switch lookup(dashed[:n]) {
	case ContentLength, TransferEncoding:
		return Other, errDisguised
	case XForwardedFor, XForwardedHost, XForwardedPort, XForwardedProto, XForwardedOther, XRealIP:
		return XForwardedOther, nil
	}
	return Other, nil
}
