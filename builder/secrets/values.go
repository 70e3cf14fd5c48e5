package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// MinValue is the length of the shortest value that is searched for and masked, in bytes: a shorter one is in any file.
const MinValue = 6

// middle is how much of a long value is searched for: its middle, since a beginning may be that of any file of its kind.
const middle = 256

// minLine is the length of the shortest line of a value with several that is masked.
const minLine = 8

// Values are secrets that are known: it finds them in files and hides them in output.
type Values struct {
	forms  *automaton
	names  []string // by the forms' values
	masks  *strings.Replacer
	margin int
}

// NewValues makes the search for values by name: as they are, without blanks at their ends, in base64 (in any position,
// both alphabets), in hex, and as they are written in URLs and JSON. Values shorter than MinValue are left out.
func NewValues(byName map[string][]byte) *Values {
	v := &Values{}
	var texts [][]byte
	var masks []string
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		value := bytes.TrimSpace(byName[name])
		if len(value) < MinValue {
			continue
		}
		for _, form := range forms(value) {
			if key := name + "\x00" + string(form); len(form) >= MinValue && !seen[key] {
				seen[key] = true
				texts, v.names = append(texts, form), append(v.names, name)
			}
		}
		for _, text := range masked(value) {
			masks = append(masks, text)
			v.margin = max(v.margin, len(text))
		}
	}
	v.forms = newAutomaton(texts, false)
	// The longest first: a value may be in another.
	slices.SortStableFunc(masks, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, m := range masks {
		pairs = append(pairs, m, "***")
	}
	v.masks = strings.NewReplacer(pairs...)
	return v
}

// forms are what a value may look like in a file.
func forms(value []byte) [][]byte {
	if n := len(value); n > middle {
		value = value[(n-middle)/2 : (n+middle)/2]
	}
	list := [][]byte{value, []byte(hex.EncodeToString(value)), []byte(strings.ToUpper(hex.EncodeToString(value))),
		[]byte(url.QueryEscape(string(value))), []byte(url.PathEscape(string(value)))}
	if quoted, err := json.Marshal(string(value)); err == nil {
		list = append(list, quoted[1:len(quoted)-1])
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			// What stands before the value moves it in the groups of three bytes. The characters at both ends, which
			// hold bits of other bytes, are left out.
			text := encoding.EncodeToString(append(make([]byte, shift), value...))
			from := []int{0, 2, 3}[shift]
			to := (shift + len(value)) * 8 / 6
			list = append(list, []byte(text[min(from, to):to]))
		}
	}
	return list
}

// masked are what of a value may stand in a line of output.
func masked(value []byte) []string {
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

// Find gives the names of the values that are in what r gives, sorted.
func (v *Values) Find(r io.Reader) ([]string, error) {
	var found []string
	buf := make([]byte, 256<<10)
	state := v.forms.start()
	for {
		n, err := r.Read(buf)
		state = v.scan(state, buf[:n], &found)
		if errors.Is(err, io.EOF) {
			slices.Sort(found)
			return found, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// In gives the names of the values that are in a text, sorted.
func (v *Values) In(text string) []string {
	var found []string
	v.scan(v.forms.start(), []byte(text), &found)
	slices.Sort(found)
	return found
}

func (v *Values) scan(state uint32, data []byte, found *[]string) uint32 {
	return v.forms.scan(state, data, func(e end, _ int) bool {
		if name := v.names[e.value]; !slices.Contains(*found, name) {
			*found = append(*found, name)
		}
		return true
	})
}

// Mask hides the values in a text.
func (v *Values) Mask(text string) string { return v.masks.Replace(text) }

// Margin is the length of the longest text that Mask hides, in bytes: a text that is cut must keep as much together.
func (v *Values) Margin() int { return v.margin }
