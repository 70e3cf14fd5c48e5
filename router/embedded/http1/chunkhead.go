package http1

import "math"

// chunkHead reads a chunk's size, its extensions, which are checked and dropped, and the line's end.
func chunkHead(b []byte) (size int64, n int, err error) {
	view := b[:min(len(b), maxChunkLine)]
	size, i, err := chunkSize(view)
	if err == nil {
		i, err = extensions(view, i)
	}
	if err == nil {
		err = lineEnd(view[i:])
	}
	switch {
	case err == ErrMore && len(b) >= maxChunkLine:
		return 0, 0, errChunkLine
	case err == errLineEnd && view[i] != '\r' && view[i] != '\n':
		return 0, 0, errChunkSize
	case err != nil:
		return 0, 0, err
	}
	return size, i + 2, nil
}

// chunkSize reads up to 16 hexadecimal digits that fit an int64.
func chunkSize(b []byte) (size int64, n int, err error) {
	var u uint64
	for n < len(b) && classes[b[n]]&isHex != 0 {
		if n == 16 {
			return 0, 0, errChunkSize
		}
		u = u<<4 | uint64(hexDigit(b[n]))
		n++
	}
	switch {
	case n == len(b):
		return 0, 0, ErrMore
	case n == 0, u > math.MaxInt64:
		return 0, 0, errChunkSize
	}
	return int64(u), n, nil
}

// extensions passes over ;name, ;name=token and ;name="text" (RFC 9112, 7.1.1). No blanks: the RFC calls them bad.
func extensions(b []byte, i int) (int, error) {
	for i < len(b) && b[i] == ';' {
		var err error
		if i, err = extensionWord(b, i+1); err != nil {
			return 0, err
		}
		if i == len(b) || b[i] != '=' {
			continue
		}
		if i++; i < len(b) && b[i] == '"' {
			i, err = quoted(b, i+1)
		} else {
			i, err = extensionWord(b, i)
		}
		if err != nil {
			return 0, err
		}
	}
	if i == len(b) {
		return 0, ErrMore
	}
	return i, nil
}

func extensionWord(b []byte, start int) (int, error) {
	i, _ := tokenEnd(b, start)
	switch {
	case i == len(b):
		return 0, ErrMore
	case i == start:
		return 0, errChunkExt
	}
	return i, nil
}

// quoted passes over a quoted string's text and its last quote (RFC 9110, 5.6.4).
func quoted(b []byte, i int) (int, error) {
	for escaped := false; i < len(b); i++ {
		switch c := b[i]; {
		case c < 0x20 && c != '\t' || c == 0x7f:
			return 0, errChunkExt
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			return i + 1, nil
		}
	}
	return 0, ErrMore
}
