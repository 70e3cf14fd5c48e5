package http1

// Field is one field of a head or trailer section. Name is a token as it was written; Value has no blanks around it.
type Field struct {
	Name, Value []byte
	Known       Known
}

// Lengths of a body that are no number of bytes.
const (
	Chunked    int64 = -1 // ChunkReader tells where it ends
	UntilClose int64 = -2 // a response that ends with its connection
)

// Form is how a request names its target (RFC 9112, 3.2).
type Form uint8

// The forms.
const (
	Origin    Form = iota // /path?query
	Absolute              // http://host/path?query
	Asterisk              // * of OPTIONS
	Authority             // host:port of CONNECT
)

// Head is the start line and the fields of one message. Its slices point into the bytes that were parsed (a few, such
// as the Path of a target without one, to constants) and hold as long as these stay. It is reused for message after
// message; parsing empties it. After an *Error it holds what had been read until then.
type Head struct {
	// Of a request. Method is a token of up to 64 bytes, in its own case. Target is as it was written: visible ASCII
	// but '#'. Path and Query are the target's parts, raw, with per cent signs checked in the path only; Path begins
	// with "/" or is "*" or, for CONNECT, nil. Query is nil when there is no '?'. Host is the absolute target's, else
	// the Host field's, else nil; its port is still there and its case its own.
	Method, Target, Path, Query, Host []byte
	Form                              Form

	// Of a response: 100 to 999, and any text.
	Status int
	Reason []byte

	Minor  int // of HTTP/1: 0 or 1
	Fields []Field

	Length   int64  // of the body in bytes, or Chunked, or UntilClose
	Close    bool   // the connection ends after this message
	Expect   bool   // a body follows once the client is told 100 (Continue)
	Trailers bool   // TE says that trailers are welcome
	Upgrade  []byte // the protocols asked for, when Connection lists the field, else nil

	options [][]byte // names that Connection lists, without those that have a meaning of their own
	saw     saw
	wait    wait
}

// saw notes what fields were there until the head is whole.
type saw struct {
	response, startLine       bool
	host, length, encoding    bool
	close, keepAlive, upgrade bool // options of Connection
	hostValue, protocols      []byte
}

// Reset makes the head empty, as before its first use; the slices' memory is kept. It is needed between messages only
// when parsing the last one ended with ErrMore.
func (h *Head) Reset() {
	*h = Head{Fields: h.Fields[:0], options: h.options[:0]}
}

// Get is the value of the first field with this name, nil when there is none.
func (h *Head) Get(k Known) []byte {
	for i := range h.Fields {
		if h.Fields[i].Known == k {
			return h.Fields[i].Value
		}
	}
	return nil
}

// Hop reports whether field i is for this connection only and not to be forwarded: those of RFC 9110, 7.6.1, those
// that speak to a proxy, and what Connection lists. Host and Content-Length always belong to the message, whatever
// Connection says: a body without its length would be read as the next request. Only where no length may be (RFC 9110,
// 8.6: 1xx, 204) it is dropped, as a client that believed it would wait for a body. Trailer is no exception to what
// is forwarded, as trailers are.
func (h *Head) Hop(i int) bool {
	f := &h.Fields[i]
	switch f.Known {
	case Connection, KeepAlive, ProxyConnection, ProxyAuthenticate, ProxyAuthorization, TE, TransferEncoding, Upgrade, HTTP2Settings:
		return true
	case Host:
		return false
	case ContentLength:
		return h.saw.response && (h.Status < 200 || h.Status == 204)
	}
	for _, option := range h.options {
		if sameToken(option, f.Name) {
			return true
		}
	}
	return false
}

// sameToken compares two tokens without regard to case.
func sameToken(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if c != b[i] && (c|0x20 != b[i]|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}
