package secrets

import (
	"bytes"
	"math"
)

// Bounds of values that random looks at.
const (
	minRandom = 12
	maxRandom = 512
)

// random reports whether a value looks as if a machine had made it, not a person who names or explains something. Three
// things tell: how evenly its characters are spread (Shannon's entropy), how often it changes between small letters,
// capitals, digits and signs, and whether its parts are words.
//
// Of n random characters of base64 nearly two in three neighbours are of different kinds ((26/64)² twice plus (10/64)²
// is the share of like ones), of hex about half; in names and words few are.
func random(value []byte) bool {
	if len(value) < minRandom || len(value) > maxRandom || placeholder(value) {
		return false
	}
	s := measure(value)
	switch {
	case s.hex && s.digits > 0 && s.digits < len(value):
		return len(value) >= 20 && s.entropy >= 2.8 && s.changes >= len(value)/5
	case isUUID(value):
		return s.entropy >= 2.8
	case s.digits == 0 && s.signs == 0:
		// Letters only: no word changes between capitals and small ones that often.
		return len(value) >= 20 && s.entropy >= 3.6 && s.changes*10 >= len(value)*4 && !words(value)
	case s.digits == 0:
		return len(value) >= minRandom && s.lower > 0 && s.upper > 0 && s.signs*3 < len(value) && s.changes*10 >= len(value)*5 && s.entropy >= 3.2 && !words(value)
	case s.letters() == 0:
		return false
	}
	enough := 3.0
	if len(value) >= 16 {
		enough = 3.3
	}
	few := 3 // tenths of neighbours that differ in kind
	if s.upper == 0 || s.lower == 0 {
		few = 2
	}
	if len(value) < 16 {
		few += 2
	}
	return s.entropy >= enough && s.changes*10 >= (len(value)-1)*few && s.signs*3 < len(value) && !words(value)
}

// figures are what random goes by.
type figures struct {
	lower, upper, digits, signs int
	changes                     int     // neighbours of different kinds
	entropy                     float64 // bits a character
	hex                         bool
}

func (f figures) letters() int { return f.lower + f.upper }

func measure(value []byte) figures {
	f := figures{hex: true}
	var count [256]int
	last := -1
	for _, c := range value {
		count[c]++
		kind := 3
		switch {
		case c >= 'a' && c <= 'z':
			kind = 0
			f.lower++
		case c >= 'A' && c <= 'Z':
			kind = 1
			f.upper++
		case isDigit(c):
			kind = 2
			f.digits++
		default:
			f.signs++
		}
		if last >= 0 && last != kind {
			f.changes++
		}
		last = kind
		f.hex = f.hex && isHex(c)
	}
	f.hex = f.hex && (f.lower == 0 || f.upper == 0)
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(value))
			f.entropy -= p * math.Log2(p)
		}
	}
	return f
}

// isUUID reports the form 8-4-4-4-12 of hex digits.
func isUUID(value []byte) bool {
	if len(value) != 36 {
		return false
	}
	for i, c := range value {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') || !dash && !isHex(c) {
			return false
		}
	}
	return true
}

// words reports whether a value falls into words, numbers and short parts: a name, a path, a version.
func words(value []byte) bool {
	signs := func(r rune) bool { return r < 0x80 && !isAlnum(byte(r)) }
	parts := bytes.FieldsFunc(value, signs)
	plain, all := 0, 0
	for _, p := range parts {
		all += len(p)
		if len(parts) > 1 && (len(p) <= 2 || wordlike(p)) {
			plain += len(p)
			continue
		}
		plain += capitalized(p)
	}
	return plain*10 >= all*6
}

// capitalized is how many bytes of camel case a part has: capitals followed by at least three small letters.
func capitalized(part []byte) int {
	n := 0
	for i := 0; i < len(part); i++ {
		small := run(part[min(i+1, len(part)):], func(c byte) bool { return c >= 'a' && c <= 'z' })
		if part[i] >= 'A' && part[i] <= 'Z' && len(small) >= 3 {
			n += 1 + len(small)
			i += len(small)
		}
	}
	return n
}

// wordlike is a number, or letters with at most the first a capital, or all capitals, with digits at the end.
func wordlike(part []byte) bool {
	letters := run(part, isLetter)
	if len(run(part[len(letters):], isDigit)) != len(part)-len(letters) {
		return false
	}
	upper := 0
	for _, c := range letters {
		if c < 'a' {
			upper++
		}
	}
	return upper == 0 || upper == len(letters) || upper == 1 && letters[0] < 'a'
}
