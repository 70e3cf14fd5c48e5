package http1

import "strconv"

// text is what is appended as it is: it must come from a parsed head or be known to have no control bytes.
type text interface{ ~string | ~[]byte }

// AppendStatusLine appends the first line of a response of HTTP/1.minor.
func AppendStatusLine[R text](dst []byte, minor, status int, reason R) []byte {
	dst = append(dst, "HTTP/1."...)
	dst = append(dst, '0'+byte(minor), ' ')
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, reason...)
	return append(dst, '\r', '\n')
}

// AppendField appends a field and its line's end.
func AppendField[N, V text](dst []byte, name N, value V) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	dst = append(dst, value...)
	return append(dst, '\r', '\n')
}

// AppendIntField appends a field whose value is a number.
func AppendIntField[N text](dst []byte, name N, value int64) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	dst = strconv.AppendInt(dst, value, 10)
	return append(dst, '\r', '\n')
}

// AppendHeadEnd appends the empty line after the fields.
func AppendHeadEnd(dst []byte) []byte { return append(dst, '\r', '\n') }

// AppendChunkHeader appends what comes before size bytes of a chunked body, more than none; a CRLF comes after them.
func AppendChunkHeader(dst []byte, size int) []byte {
	dst = strconv.AppendInt(dst, int64(size), 16)
	return append(dst, '\r', '\n')
}

// AppendLastChunk appends the end of a chunked body, with its trailers.
func AppendLastChunk(dst []byte, trailer []Field) []byte {
	dst = append(dst, '0', '\r', '\n')
	for i := range trailer {
		dst = AppendField(dst, trailer[i].Name, trailer[i].Value)
	}
	return append(dst, '\r', '\n')
}
