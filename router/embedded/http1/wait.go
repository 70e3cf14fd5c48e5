package http1

import "bytes"

// wait remembers of bytes that ended too early what may follow them without anything being decided, so that a message
// that trickles in is not read from its beginning for every byte.
type wait struct {
	seen  int   // bytes so far; 0 when nothing is remembered
	quiet uint8 // the class of bytes that decide nothing; 0 when all do
}

// goesOn reports whether b, which began with what is remembered, goes on so that the answer is ErrMore again. limit is
// the length at which that changes.
func (w *wait) goesOn(b []byte, limit int) bool {
	if w.seen == 0 || w.seen > len(b) || w.quiet == 0 || len(b) >= limit {
		return false
	}
	for _, c := range b[w.seen:] {
		if classes[c]&w.quiet == 0 {
			return false
		}
	}
	w.seen = len(b)
	return true
}

// inLine is the class of bytes that decide nothing after b, which ends in the middle of a section of fields.
func inLine(b []byte) uint8 {
	line := b[bytes.LastIndexByte(b, '\n')+1:]
	switch {
	case bytes.IndexByte(line, '\r') >= 0:
		return 0
	case bytes.IndexByte(line, ':') >= 0:
		return isText
	}
	return isToken
}

// waits reports whether a head that was not whole is still not.
func (h *Head) waits(b []byte) bool {
	limit := MaxHead
	if h.wait.quiet == isTarget {
		limit = MaxTarget
	}
	return h.wait.goesOn(b, limit)
}

// settle ends a parse over b.
func (h *Head) settle(b []byte, n int, err error) (int, error) {
	switch {
	case err == nil:
		return n, nil
	case err != ErrMore:
		return 0, err
	case len(b) >= MaxHead:
		return 0, errHeadLarge
	}
	h.wait = wait{len(b), 0}
	switch {
	case h.saw.startLine:
		h.wait.quiet = inLine(b)
	case h.Method != nil && h.Target == nil && bytes.IndexByte(b[len(b)-2:], '%') < 0:
		h.wait.quiet = isTarget
	}
	return 0, ErrMore
}
