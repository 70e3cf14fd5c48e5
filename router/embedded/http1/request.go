package http1

// preface begins HTTP/2; it was made to look like a request of a version that no HTTP/1 server takes.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// ParseRequest reads the head of a request from the beginning of b into h and says how many bytes it took; the body
// follows. Errors: ErrMore when b does not hold it whole; ErrH2Preface; else an *Error with what to answer. To be
// called again after ErrMore is cheap with the same h, which remembers how far it looked; what must be refused is refused
// at the first byte that makes it so.
func ParseRequest(b []byte, h *Head) (n int, err error) {
	if h.waits(b) {
		return 0, ErrMore
	}
	h.Reset()
	n, err = h.request(b[:min(len(b), MaxHead)])
	return h.settle(b, n, err)
}

func (h *Head) request(b []byte) (n int, err error) {
	i := 0
	if len(b) > 0 && (b[0] == '\r' || b[0] == '\n') {
		if err := lineEnd(b); err != nil {
			return 0, err
		}
		i = 2
	}
	if i, err = h.method(b, i); err != nil {
		return 0, err
	}
	if i, err = h.target(b, i); err != nil {
		return 0, err
	}
	if h.Minor, err = version(b[i:]); err != nil {
		return 0, err
	}
	if i += versionLen; i == len(b) {
		return 0, ErrMore
	}
	if err := lineEnd(b[i:]); err != nil {
		if err == errLineEnd {
			err = errVersion
		}
		return 0, err
	}
	if i, err = h.fields(b, i+2); err != nil {
		return 0, err
	}
	return i, h.conclude()
}

// conclude checks what can only be said of the whole head.
func (h *Head) conclude() error {
	switch {
	case !h.saw.host && h.Minor > 0:
		return ErrNoHost
	case h.Form != Absolute && h.Form != Authority:
		h.Host = h.saw.hostValue
	}
	return h.frame(h.Method)
}

// method reads the method and the space after it.
func (h *Head) method(b []byte, start int) (int, error) {
	if len(b) > 0 && b[0] == preface[0] {
		if err := checkPreface(b); err != nil {
			return 0, err
		}
	}
	view := b[:min(len(b), start+maxMethod+1)]
	i, _ := tokenEnd(view, start)
	switch {
	case i == start+maxMethod+1:
		return 0, errMethodLong
	case i == len(b):
		return 0, ErrMore
	case i == start && (b[i] == '\r' || b[i] == '\n'):
		return 0, errEmptyLine
	case i == start || b[i] != ' ':
		return 0, errMethod
	}
	h.Method = b[start:i]
	return i + 1, nil
}

func checkPreface(b []byte) error {
	n := min(len(b), len(preface))
	switch {
	case string(b[:n]) != preface[:n]:
		return nil
	case n < len(preface):
		return ErrMore
	}
	return ErrH2Preface
}

// versionLen is the length of HTTP/1.1.
const versionLen = 8

// version reads the version at the beginning of b; it is wrong from the first byte on that is.
func version(b []byte) (minor int, err error) {
	if len(b) >= versionLen && string(b[:7]) == "HTTP/1." && b[7]|1 == '1' {
		return int(b[7] - '0'), nil
	}
	for i, c := range b[:min(len(b), versionLen)] {
		if want := "HTTP/1.1"[i]; c != want && (!isDigit(c) || !isDigit(want)) {
			return 0, errVersion
		}
	}
	if len(b) < versionLen {
		return 0, ErrMore
	}
	return 0, errOtherMajor
}
