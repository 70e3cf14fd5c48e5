package http1

import "bytes"

// validHost reports whether b is a host and an optional port (RFC 3986, 3.2.2 and 3.2.3), without user information,
// per cent signs and zones.
func validHost(b []byte) bool {
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		return end > 0 && validIPv6(b[1:end]) && validPort(b[end+1:])
	}
	i := 0
	for i < len(b) && classes[b[i]]&isHost != 0 {
		i++
	}
	return i > 0 && validPort(b[i:])
}

// validPort reports whether b is nothing, or a colon and up to five digits.
func validPort(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) > 6 {
		return false
	}
	for _, c := range b[1:] {
		if !isDigit(c) {
			return false
		}
	}
	return true
}

// validIPv6 reports whether b is an IPv6 address (RFC 4291, 2.2), its last 32 bits perhaps written as IPv4.
func validIPv6(b []byte) bool {
	groups, gap := 0, false
	for len(b) > 0 {
		if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
			if gap {
				return false
			}
			gap, b = true, b[2:]
			continue
		}
		if b[0] == ':' {
			return false
		}
		end := bytes.IndexByte(b, ':')
		if end < 0 && bytes.IndexByte(b, '.') >= 0 {
			if !validIPv4(b) {
				return false
			}
			groups += 2
			break
		}
		if end < 0 {
			end = len(b)
		}
		if !validGroup(b[:end]) {
			return false
		}
		groups++
		b = b[end:]
		if len(b) == 0 || len(b) >= 2 && b[1] == ':' {
			continue
		}
		if b = b[1:]; len(b) == 0 {
			return false
		}
	}
	return groups == 8 && !gap || groups < 8 && gap
}

func validGroup(b []byte) bool {
	for _, c := range b {
		if classes[c]&isHex == 0 {
			return false
		}
	}
	return 1 <= len(b) && len(b) <= 4
}

func validIPv4(b []byte) bool {
	for part := range 4 {
		end := len(b)
		if part < 3 {
			end = bytes.IndexByte(b, '.')
		}
		if end < 1 || end > 3 || end > 1 && b[0] == '0' {
			return false
		}
		if n, ok := number(b[:end]); !ok || n > 255 {
			return false
		}
		if part < 3 {
			end++
		}
		b = b[end:]
	}
	return len(b) == 0
}
