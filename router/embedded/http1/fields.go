package http1

import "bytes"

// fieldLine reads one field of a section from b[i:] and says where the next begins; name is nil for the empty line
// that ends the section.
func fieldLine(b []byte, i int) (f Field, next int, err error) {
	start := i
	i, seen := tokenEnd(b, i)
	if i == len(b) {
		return f, 0, ErrMore
	}
	if b[i] != ':' || i == start {
		return f, start + 2, sectionEnd(b[i:], i == start)
	}
	f.Name = b[start:i]
	start = i + 1
	i = textEnd(b, start)
	if i == len(b) {
		return f, 0, ErrMore
	}
	if b[i] != '\r' && b[i] != '\n' {
		return f, 0, errValue
	}
	if err := lineEnd(b[i:]); err != nil {
		return f, 0, err
	}
	f.Value = trim(b[start:i])
	if seen&isUnderscore != 0 {
		f.Known, err = lookupDisguised(f.Name)
	} else {
		f.Known = lookup(f.Name)
	}
	return f, i + 2, err
}

// sectionEnd is nil for the empty line, else what is wrong with a line at the first byte that is not of a name.
func sectionEnd(b []byte, first bool) error {
	switch {
	case first && (b[0] == '\r' || b[0] == '\n'):
		return lineEnd(b)
	case first && isBlank(b[0]):
		return errFolded
	case isBlank(b[0]):
		return errSpaceColon
	}
	return errName
}

// fields reads the fields from b[i:] to the empty line and says where the body begins.
func (h *Head) fields(b []byte, i int) (int, error) {
	h.saw.startLine = true
	for {
		f, next, err := fieldLine(b, i)
		if err != nil {
			return 0, err
		}
		if f.Name == nil {
			return next, nil
		}
		if len(h.Fields) == MaxFields {
			return 0, errManyFields
		}
		h.Fields = append(h.Fields, f)
		if f.Known != Other {
			if err := h.note(f); err != nil {
				return 0, err
			}
		}
		i = next
	}
}

// note takes in what a field says about the message.
func (h *Head) note(f Field) error {
	switch f.Known {
	case Host:
		return h.noteHost(f.Value)
	case ContentLength:
		return h.noteLength(f.Value)
	case TransferEncoding:
		return h.noteEncoding(f.Value)
	case Connection:
		return h.noteConnection(f.Value)
	case Upgrade:
		if h.saw.protocols != nil {
			return errTwoUpgrades
		}
		h.saw.protocols = f.Value
	case Expect:
		if !h.saw.response && !fold(f.Value, "100-continue") {
			return errExpect
		}
		h.Expect = true
	case TE:
		h.noteTE(f.Value)
	case Trailer:
		return checkTrailer(f.Value)
	}
	return nil
}

func (h *Head) noteHost(value []byte) error {
	switch {
	case h.saw.response:
		return nil
	case h.saw.host:
		return errTwoHosts
	case len(value) > 0 && !validHost(value):
		return errHost
	}
	h.saw.host, h.saw.hostValue = true, value
	return nil
}

// noteConnection reads the options. What is no token names no field and is passed over.
func (h *Head) noteConnection(list []byte) error {
	for len(list) > 0 {
		var item []byte
		item, list = nextItem(list)
		end, _ := tokenEnd(item, 0)
		switch {
		case len(item) == 0 || end < len(item):
		case fold(item, "close"):
			h.saw.close = true
		case fold(item, "keep-alive"):
			h.saw.keepAlive = true
		case fold(item, "upgrade"):
			h.saw.upgrade = true
		case len(h.options) == maxOptions:
			return errOptions
		default:
			h.options = append(h.options, item)
		}
	}
	return nil
}

func (h *Head) noteTE(list []byte) {
	for len(list) > 0 {
		var item []byte
		item, list = nextItem(list)
		if coding, _, _ := bytes.Cut(item, []byte(";")); fold(trim(coding), "trailers") {
			h.Trailers = true
		}
	}
}

// checkTrailer refuses to announce what must never be a trailer, as net/http does.
func checkTrailer(list []byte) error {
	for len(list) > 0 {
		var item []byte
		item, list = nextItem(list)
		switch lookup(item) {
		case ContentLength, TransferEncoding, Trailer:
			return errTrailerName
		}
	}
	return nil
}
