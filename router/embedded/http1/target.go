package http1

import "bytes"

// target reads the request's target and the space after it.
func (h *Head) target(b []byte, start int) (int, error) {
	view := b[start:min(len(b), start+MaxTarget+1)]
	end, query, err := targetEnd(view)
	switch {
	case err != nil:
		return 0, err
	case end > MaxTarget:
		return 0, errTargetLong
	case start+end == len(b):
		return 0, ErrMore
	case end == 0:
		return 0, errTarget
	}
	h.Target = view[:end]
	rest := h.Target
	if query >= 0 {
		rest, h.Query = h.Target[:query], h.Target[query+1:]
	}
	return start + end + 1, h.form(rest)
}

// targetEnd finds the space after the target, len(b) when it is not there, and the query's '?', -1 when there is none.
// It checks every byte and, before the query, what follows per cent signs, as net/url does.
func targetEnd(b []byte) (end, query int, err error) {
	query = -1
	for i := 0; i < len(b); i++ {
		c := b[i]
		if classes[c]&isTarget != 0 {
			continue
		}
		switch {
		case c == ' ':
			return i, query, nil
		case c == '?':
			if query < 0 {
				query = i
			}
		case c == '%':
			if query < 0 && !escapes(b[i+1:]) {
				return 0, 0, errTarget
			}
		default:
			return 0, 0, errTarget
		}
	}
	return len(b), query, nil
}

// escapes reports whether what follows a per cent sign may be two hexadecimal digits.
func escapes(b []byte) bool {
	for _, c := range b[:min(len(b), 2)] {
		if classes[c]&isHex == 0 {
			return false
		}
	}
	return true
}

// form reads a target without its query.
func (h *Head) form(rest []byte) error {
	options := string(h.Method) == "OPTIONS"
	switch {
	case string(h.Method) == "CONNECT":
		return h.authority(rest)
	case len(rest) > 0 && rest[0] == '/':
		h.Path = rest
		return nil
	case string(h.Target) == "*" && options:
		h.Form, h.Path = Asterisk, rest
		return nil
	}
	return h.absolute(rest, options)
}

// authority reads the target of CONNECT: a host and a port that is not optional.
func (h *Head) authority(rest []byte) error {
	colon := bytes.LastIndexByte(rest, ':')
	if h.Query != nil || !validHost(rest) || colon < 0 || colon == len(rest)-1 || rest[len(rest)-1] == ']' {
		return errTarget
	}
	h.Form, h.Host = Authority, rest
	return nil
}

// absolute reads scheme, host and path. The host counts instead of the Host field's (RFC 9112, 3.2.2). Without a path
// the whole server is meant by OPTIONS, else its root (RFC 9112, 3.2.4 and 3.2.1).
func (h *Head) absolute(rest []byte, options bool) error {
	scheme := bytes.IndexByte(rest, ':')
	if scheme < 0 || !fold(rest[:scheme], "http") && !fold(rest[:scheme], "https") {
		return errTarget
	}
	rest, ok := bytes.CutPrefix(rest[scheme:], []byte("://"))
	if !ok {
		return errTarget
	}
	host := rest
	if slash := bytes.IndexByte(rest, '/'); slash >= 0 {
		host, h.Path = rest[:slash], rest[slash:]
	} else if options && h.Query == nil {
		h.Path = []byte("*")
	} else {
		h.Path = []byte("/")
	}
	if !validHost(host) {
		return errHost
	}
	h.Form, h.Host = Absolute, host
	return nil
}

// AppendTarget appends the target that a node is asked for: without scheme and host.
func (h *Head) AppendTarget(dst []byte) []byte {
	if h.Form != Absolute {
		return append(dst, h.Target...)
	}
	dst = append(dst, h.Path...)
	if h.Query != nil {
		dst = append(append(dst, '?'), h.Query...)
	}
	return dst
}
