package http1

// ParseResponse reads the head of a response, as ParseRequest does that of a request; method is the request's, which
// says whether a body follows. Interim responses (1xx) are responses of their own. A refused one has the status 502.
func ParseResponse(b, method []byte, h *Head) (n int, err error) {
	if h.waits(b) {
		return 0, ErrMore
	}
	h.Reset()
	h.saw.response = true
	n, err = h.response(b[:min(len(b), MaxHead)], method)
	n, err = h.settle(b, n, err)
	if refused, ok := err.(*Error); ok {
		return 0, &Error{502, refused.Reason}
	}
	return n, err
}

func (h *Head) response(b, method []byte) (n int, err error) {
	if h.Minor, err = version(b); err != nil {
		return 0, err
	}
	i, err := h.statusLine(b, versionLen)
	if err != nil {
		return 0, err
	}
	if i, err = h.fields(b, i); err != nil {
		return 0, err
	}
	return i, h.frame(method)
}

// statusLine reads the status and reason after the version. The space before a reason that is empty may be missing:
// servers leave it out, and nothing depends on it.
func (h *Head) statusLine(b []byte, i int) (int, error) {
	for k, c := range b[i:min(len(b), i+4)] {
		if k == 0 && c != ' ' || k == 1 && (c < '1' || c > '9') || k > 1 && !isDigit(c) {
			return 0, errStatusLine
		}
	}
	if i += 4; i >= len(b) {
		return 0, ErrMore
	}
	h.Status = int(b[i-3]-'0')*100 + int(b[i-2]-'0')*10 + int(b[i-1]-'0')
	end := i
	if b[i] == ' ' {
		end = textEnd(b, i)
		h.Reason = b[i+1 : end]
	}
	if end == len(b) {
		return 0, ErrMore
	}
	if err := lineEnd(b[end:]); err != nil {
		if err == errLineEnd {
			err = errStatusLine
		}
		return 0, err
	}
	return end + 2, nil
}
