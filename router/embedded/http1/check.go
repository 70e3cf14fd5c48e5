package http1

import "bytes"

// Check holds a request's head that was not parsed but put together from another protocol's against the same rules,
// and fills in what follows from it. HTTP/2 has no start line, so that a method, path or host may hold what would end
// its place in one: "GET /elsewhere HTTP/1.1 x" is a method that servers of HTTP/2 let through.
//
// Method, Target, Host and the fields' names and values are to be set, and Host is no field. Check sets Path, Query,
// Form, Trailers and the fields' Known, and cuts blanks off their values. What frames and connects (Length, Close,
// Upgrade) is the other protocol's and stays as it is, but that a Content-Length must be one; such fields are still there, to be told
// apart by Known. The error is an *Error.
func (h *Head) Check() error {
	switch end, _ := tokenEnd(h.Method, 0); {
	case end == 0, end < len(h.Method):
		return errMethod
	case end > maxMethod:
		return errMethodLong
	case len(h.Host) > 0 && !validHost(h.Host):
		return errHost
	}
	if err := h.checkTarget(); err != nil {
		return err
	}
	if len(h.Fields) > MaxFields {
		return errManyFields
	}
	if h.size() > MaxHead {
		return errHeadLarge
	}
	for i := range h.Fields {
		if err := h.checkField(&h.Fields[i]); err != nil {
			return err
		}
	}
	return nil
}

// size is how many bytes the head has as HTTP/1.1 writes it.
func (h *Head) size() int {
	n := len(h.Method) + len(h.Target) + len("  HTTP/1.1\r\nHost: \r\n\r\n") + len(h.Host)
	for i := range h.Fields {
		n += len(h.Fields[i].Name) + len(h.Fields[i].Value) + len(": \r\n")
	}
	return n
}

func (h *Head) checkTarget() error {
	host := h.Host
	h.Path, h.Query, h.Form = nil, nil, Origin
	if len(h.Target) > MaxTarget {
		return errTargetLong
	}
	end, query, err := targetEnd(h.Target)
	if err != nil || end == 0 || end < len(h.Target) {
		return errTarget
	}
	rest := h.Target
	if query >= 0 {
		rest, h.Query = h.Target[:query], h.Target[query+1:]
	} else if bytes.IndexByte(rest[max(0, end-2):], '%') >= 0 {
		return errTarget // an escape is cut off
	}
	if err := h.form(rest); err != nil {
		return err
	}
	if h.Form == Absolute || h.Form == Authority && !sameToken(host, h.Host) {
		return errTarget // the host is said elsewhere, and once
	}
	return nil
}

func (h *Head) checkField(f *Field) (err error) {
	end, seen := tokenEnd(f.Name, 0)
	switch {
	case end == 0, end < len(f.Name):
		return errName
	case textEnd(f.Value, 0) < len(f.Value):
		return errValue
	case seen&isUnderscore != 0:
		f.Known, err = lookupDisguised(f.Name)
	default:
		f.Known = lookup(f.Name)
	}
	f.Value = trim(f.Value)
	switch f.Known {
	case Host:
		return errTwoHosts
	case ContentLength:
		return h.noteLength(f.Value)
	case TE:
		h.noteTE(f.Value)
	case Trailer:
		return checkTrailer(f.Value)
	}
	return err
}
