package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// mask is what a value is replaced by in output.
const mask = "***"

// minLine is the length of the shortest line of a value with several that is masked.
const minLine = 8

// glimpse is how many characters of an encoded value are known again: of a line that is wrapped, or a piece that was cut out, all
// but fewer than that is masked.
const glimpse = 8

// maxSpots bounds the glimpses of one encoding of a value: of a longer one only some are known, near enough to each other that
// each line of 60 characters, as tools wrap them, has one.
const maxSpots = 64 << 10

// masker hides values in output.
type masker struct {
	plain  *strings.Replacer // as they are, and as URLs and JSON write them
	margin int
	coded  []coded
	spots  map[uint64]spot // of all glimpses
}

// coded is a value in base64 or hex, without the characters at its ends that hold bits of other bytes: edge says how many
// of those there are.
type coded struct {
	text string
	edge [2]int
}

type spot struct{ form, at int }

func newMasker(values [][]byte) masker {
	m := masker{spots: map[uint64]spot{}}
	var plain []string
	for _, value := range values {
		for _, line := range lines(value) {
			for _, text := range written(line) {
				plain = append(plain, pieces(text)...)
			}
		}
		m.code(value, &plain)
	}
	// The longest first: a value may be in another.
	slices.SortFunc(plain, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, text := range plain {
		m.margin = max(m.margin, len(text))
		pairs = append(pairs, text, mask)
	}
	m.plain = strings.NewReplacer(pairs...)
	return m
}

// lines are a value and those of its lines that are long enough.
func lines(value []byte) []string {
	list := []string{string(value)}
	if bytes.ContainsRune(value, '\n') {
		for line := range strings.Lines(string(value)) {
			if line = strings.TrimSpace(line); len(line) >= minLine {
				list = append(list, line)
			}
		}
	}
	return list
}

// longest is the length of a text that is looked for as a whole, in bytes.
const longest = 4096

// pieces cuts a long text evenly: so much of a line need not be kept together.
func pieces(text string) []string {
	count := (len(text) + longest - 1) / longest
	size := (len(text) + count - 1) / count
	var list []string
	for ; len(text) > size; text = text[size:] {
		list = append(list, text[:size])
	}
	return append(list, text)
}

var escapes = regexp.MustCompile(`%[0-9A-F]{2}`)

// written is a text as it is and as URLs and JSON have it, each once.
func written(text string) []string {
	list := []string{text, inJSON(text)}
	for _, escaped := range []string{url.QueryEscape(text), url.PathEscape(text), strictEscape(text), strings.ReplaceAll(strictEscape(text), "%2F", "/")} {
		list = append(list, escaped, escapes.ReplaceAllStringFunc(escaped, strings.ToLower))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// strictEscape leaves only what no URL has to escape (RFC 3986, 2.3).
func strictEscape(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}

// code adds the encodings of a value. Those that are too short for one glimpse are plain texts.
func (m *masker) code(value []byte, plain *[]string) {
	for _, c := range encodings(value) {
		if len(c.text) < 2*glimpse {
			*plain = append(*plain, c.text)
		}
		step := 1 + len(c.text)/maxSpots
		for at := 0; at+glimpse <= len(c.text); at += step {
			if key := c.text[at : at+glimpse]; varied(key) {
				m.spots[keyOf(key)] = spot{len(m.coded), at}
			}
		}
		m.coded = append(m.coded, c)
	}
}

// varied tells glimpses from runs of one character, which are in many texts and say nothing.
func varied(text string) bool {
	seen := ""
	for _, c := range text {
		if !strings.ContainsRune(seen, c) {
			seen += string(c)
		}
	}
	return len(seen) > 2
}

func keyOf(text string) uint64 { return binary.LittleEndian.Uint64([]byte(text)) }

// encodings are a value in hex and in base64, in both alphabets and at each place of a group of three bytes.
func encodings(value []byte) []coded {
	digits := hex.EncodeToString(value)
	list := []coded{{text: digits}, {text: strings.ToUpper(digits)}}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			// What stands before the value moves it in the groups.
			text := encoding.EncodeToString(append(make([]byte, shift), value...))
			from := []int{0, 2, 3}[shift]
			to := (shift + len(value)) * 8 / 6
			list = append(list, coded{text[min(from, to):to], [2]int{min(shift, 1), len(text) - to}})
		}
	}
	return list
}

// hide replaces values in a text.
func (m *masker) hide(text string) string {
	if len(m.coded) == 0 {
		return text // no values
	}
	var b strings.Builder
	to := 0 // up to here it is written or hidden
	for i := 0; i+glimpse <= len(text); i++ {
		p, ok := m.spots[keyOf(text[i:i+glimpse])]
		if !ok {
			continue
		}
		begin, end := m.run(text, i, p, to)
		if begin > to || to == 0 { // else it goes on with what is hidden already
			b.WriteString(text[to:begin])
			b.WriteString(mask)
		}
		// The same characters may stand at another place of the value, too, where more follows.
		to = max(to, end)
		i = max(i, to-glimpse)
	}
	b.WriteString(text[to:])
	return m.plain.Replace(b.String())
}

// run is how far the encoded value goes, to both sides of a glimpse at i, but not before done.
func (m *masker) run(text string, i int, p spot, done int) (from, to int) {
	c := m.coded[p.form]
	from, to = i, i+glimpse
	at, end := p.at, p.at+glimpse
	for ; from > done && at > 0 && text[from-1] == c.text[at-1]; from, at = from-1, at-1 {
	}
	for ; to < len(text) && end < len(c.text) && text[to] == c.text[end]; to, end = to+1, end+1 {
	}
	for n := c.edge[0]; at == 0 && n > 0 && from > done && inBase64(text[from-1]); n-- {
		from--
	}
	for n := c.edge[1]; end == len(c.text) && n > 0 && to < len(text) && inBase64(text[to]); n-- {
		to++
	}
	for n := 2; end == len(c.text) && n > 0 && to < len(text) && text[to] == '='; n-- {
		to++
	}
	return from, to
}

func inBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("+/-_", c) >= 0
}
