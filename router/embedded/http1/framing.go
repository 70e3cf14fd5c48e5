package http1

import "math"

// noteLength takes the Content-Length: digits only, once.
func (h *Head) noteLength(value []byte) error {
	if h.saw.length {
		return errTwoLengths
	}
	n, ok := number(value)
	if !ok {
		return errLength
	}
	h.saw.length, h.Length = true, n
	return nil
}

// number is the value of decimal digits that fit an int64.
func number(b []byte) (n int64, ok bool) {
	for _, c := range b {
		if !isDigit(c) || n > (math.MaxInt64-int64(c-'0'))/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(b) > 0
}

// noteEncoding takes the Transfer-Encoding: only chunked, once.
func (h *Head) noteEncoding(value []byte) error {
	if h.saw.encoding {
		return errTwoEncoding
	}
	if !fold(value, "chunked") {
		return errEncoding
	}
	h.saw.encoding = true
	return nil
}

// frame works out what follows the head and what becomes of the connection (RFC 9112, 6.3 and 9.3). method is that of
// the request.
func (h *Head) frame(method []byte) error {
	s := &h.saw
	switch {
	case s.encoding && s.length:
		return errBoth
	case s.encoding && h.Minor == 0:
		return errEncoding10
	case s.encoding:
		h.Length = Chunked
	case !s.length && s.response:
		h.Length = UntilClose
	}
	if s.response && bodyless(h.Status, method) {
		h.Length = 0
	}
	h.Close = s.close || h.Minor == 0 && !s.keepAlive || h.Length == UntilClose
	h.Expect = h.Expect && !s.response && h.Minor == 1 && h.Length != 0
	if s.upgrade && h.Minor == 1 && len(s.protocols) > 0 {
		h.Upgrade = s.protocols
	}
	return nil
}

// bodyless reports whether a response has no body whatever its fields say.
func bodyless(status int, method []byte) bool {
	switch {
	case status < 200, status == 204, status == 304:
		return true
	case status < 300 && string(method) == "CONNECT":
		return true
	}
	return string(method) == "HEAD"
}
