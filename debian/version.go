package debian

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxEpoch is the largest epoch that dpkg takes: it keeps it in an int.
const maxEpoch = 1<<31 - 1

// Compare orders versions as deb-version(7) does: negative when v is older than o, 0 when both are equal, positive when
// v is newer. It is a total order over all strings; what is no version (Valid) has some place in it.
func (v Version) Compare(o Version) int {
	if v == o {
		return 0
	}
	a, b := v.split(), o.split()
	return cmp.Or(
		compareNumbers(a.epoch, b.epoch),
		comparePart(a.upstream, b.upstream),
		comparePart(a.revision, b.revision),
	)
}

// Epoch is the number before the colon, as written; "0" without one.
func (v Version) Epoch() string { return cmp.Or(v.split().epoch, "0") }

// Upstream is the version without epoch and revision.
func (v Version) Upstream() string { return v.split().upstream }

// Revision is what follows the last hyphen; "" without one.
func (v Version) Revision() string { return v.split().revision }

type parts struct {
	epoch, upstream, revision string
}

// split takes what stands before the first colon as epoch if it is a number, and what follows the last hyphen as revision.
func (v Version) split() parts {
	p := parts{upstream: string(v)}
	if epoch, rest, ok := strings.Cut(p.upstream, ":"); ok && isNumber(epoch) {
		p.epoch, p.upstream = epoch, rest
	}
	if i := strings.LastIndexByte(p.upstream, '-'); i >= 0 {
		p.upstream, p.revision = p.upstream[:i], p.upstream[i+1:]
	}
	return p
}

// comparePart compares upstream versions or revisions: in turns a run of other characters and a run of digits.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		var textA, textB, numA, numB string
		textA, a = cutRun(a, false)
		textB, b = cutRun(b, false)
		if c := compareText(textA, textB); c != 0 {
			return c
		}
		numA, a = cutRun(a, true)
		numB, b = cutRun(b, true)
		if c := compareNumbers(numA, numB); c != 0 {
			return c
		}
	}
	return 0
}

// cutRun cuts the leading run of digits, or of everything else, off s.
func cutRun(s string, digits bool) (run, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) == digits {
		i++
	}
	return s[:i], s[i:]
}

func compareText(a, b string) int {
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(weight(a, i), weight(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

// weight is the rank of a character: a tilde is before the end, the end before letters, letters before the rest.
func weight(s string, i int) int {
	switch {
	case i >= len(s):
		return 0
	case s[i] == '~':
		return -1
	case isLetter(s[i]):
		return int(s[i])
	}
	return int(s[i]) + 256
}

// compareNumbers compares runs of digits of any length; "" is 0.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// Valid says what is wrong with a version, in the words of deb-version(7); nil for nothing.
func (v Version) Valid() error {
	p := v.split()
	switch {
	case v == "":
		return errors.New("the version is empty")
	case p.epoch == "" && strings.Contains(string(v), ":"):
		return fmt.Errorf("version %q: what stands before the colon is no number", string(v))
	case p.upstream == "":
		return fmt.Errorf("version %q: nothing but an epoch and a revision", string(v))
	case !isDigit(p.upstream[0]):
		return fmt.Errorf("version %q does not start with a digit", string(v))
	case p.revision == "" && strings.HasSuffix(string(v), "-"):
		return fmt.Errorf("version %q: nothing follows the last hyphen", string(v))
	}
	if p.epoch != "" {
		if n, err := strconv.ParseInt(p.epoch, 10, 64); err != nil || n > maxEpoch {
			return fmt.Errorf("version %q: the epoch is larger than %d", string(v), maxEpoch)
		}
	}
	if i := strings.IndexFunc(p.upstream, func(r rune) bool { return !inVersion(r, "+-.~:") }); i >= 0 {
		return fmt.Errorf("version %q: a version has letters, digits and + - . ~ only", string(v))
	}
	if i := strings.IndexFunc(p.revision, func(r rune) bool { return !inVersion(r, "+.~") }); i >= 0 {
		return fmt.Errorf("version %q: a revision has letters, digits and + . ~ only", string(v))
	}
	return nil
}

func inVersion(r rune, others string) bool {
	return r < 0x80 && (isDigit(byte(r)) || isLetter(byte(r)) || strings.ContainsRune(others, r))
}

func isNumber(s string) bool {
	rest := strings.TrimLeft(s, "0123456789")
	return s != "" && rest == ""
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
