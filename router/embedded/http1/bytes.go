package http1

import (
	"encoding/binary"
	"math/bits"
)

// What a byte may be part of.
const (
	isToken      = 1 << iota // a method or name (RFC 9110, 5.6.2)
	isUnderscore             // the one token byte that some gateways take for another
	isTarget                 // a target, in places where it means nothing special
	isHost                   // a registered name (RFC 3986, 3.2.2) but for per cent signs
	isHex
	isText // a field's value, blanks as well
)

// classes has the classes of each byte; constant.
var classes = classify()

func classify() (t [256]uint8) {
	mark := func(s string, class uint8) {
		for i := range len(s) {
			t[s[i]] |= class
		}
	}
	const digits, letters = "0123456789", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	mark(digits+letters+"!#$%&'*+-.^_`|~", isToken)
	mark("_", isUnderscore)
	mark(digits+letters+"-._~!$&'()*+,;=", isHost)
	mark(digits+"abcdefABCDEF", isHex)
	for c := range t {
		if '!' <= c && c <= '~' && c != '#' && c != '%' && c != '?' {
			t[c] |= isTarget
		}
		if c >= ' ' && c != 0x7f || c == '\t' {
			t[c] |= isText
		}
	}
	return t
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// hexDigit is the value of a hexadecimal digit.
func hexDigit(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// textEnd is the index of the first byte from i on that may not be in a field's value: a control byte other than the
// tab. It is len(b) when there is none. Eight bytes are looked at in one go: of those that a subtraction made
// negative, the lowest is surely one (Mycroft's test for a byte below a bound).
func textEnd(b []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		d := x ^ ones*0x7f
		found := ((x-ones*0x20)&^x | (d-ones)&^d) & highs
		if found == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(found) / 8
		if b[i] != '\t' {
			return i
		}
		i++
	}
	for i < len(b) && classes[b[i]]&isText != 0 {
		i++
	}
	return i
}

// tokenEnd is the index of the first byte from i on that is not of a token, and what classes were seen.
func tokenEnd(b []byte, i int) (end int, seen uint8) {
	for i < len(b) {
		class := classes[b[i]]
		if class&isToken == 0 {
			break
		}
		seen |= class
		i++
	}
	return i, seen
}

// lineEnd checks that b begins with CRLF.
func lineEnd(b []byte) error {
	switch {
	case len(b) >= 2 && b[0] == '\r' && b[1] == '\n':
		return nil
	case len(b) == 0, len(b) == 1 && b[0] == '\r':
		return ErrMore
	}
	return errLineEnd
}

// fold reports whether b, which has no control bytes, is lower in any case; lower is lower-case letters, digits and
// dashes.
func fold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range len(lower) {
		if b[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// trimRight cuts blanks off the end.
func trimRight(b []byte) []byte {
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// trim cuts blanks off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	return trimRight(b)
}

// nextItem takes the first item off a comma-separated list (RFC 9110, 5.6.1), without the blanks around it.
func nextItem(list []byte) (item, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}
