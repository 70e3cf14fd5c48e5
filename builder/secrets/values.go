package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
)

// MinValue is the length of the shortest value that is searched for and masked, in bytes: a shorter one is in any file.
const MinValue = 6

// middle is how much of a long value is searched for: its middle, since a beginning may be that of any file of its kind.
const middle = 256

// Values are secrets that are known: it finds them in files and hides them in output.
type Values struct {
	forms *automaton
	names []string // by the forms' values
	masks masker
}

// NewValues makes the search for values by name: as they are, without blanks at their ends, in base64 (in any position,
// both alphabets), in hex, and as they are written in URLs and JSON. Values shorter than MinValue are left out.
func NewValues(byName map[string][]byte) *Values {
	v := &Values{}
	var texts [][]byte
	var values [][]byte
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
		values = append(values, value)
	}
	v.forms, v.masks = newAutomaton(texts, false), newMasker(values)
	return v
}

// forms are what a value may look like in a file.
func forms(value []byte) [][]byte {
	if n := len(value); n > middle {
		value = value[(n-middle)/2 : (n+middle)/2]
	}
	var list [][]byte
	for _, text := range written(string(value)) {
		list = append(list, []byte(text))
	}
	for _, c := range encodings(value) {
		list = append(list, []byte(c.text))
	}
	return list
}

// inJSON is a text between the quotes of JSON.
func inJSON(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		return text // texts can be encoded
	}
	return string(quoted[1 : len(quoted)-1])
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

// Mask hides the values in a line of output: as they are, line by line, as URLs and JSON write them, and in base64 and hex, of
// which pieces of at least eight characters are hidden wherever a line was wrapped or cut.
func (v *Values) Mask(text string) string { return v.masks.hide(text) }

// Margin is the length of the longest text that Mask hides as a whole only, in bytes: a text that is cut must keep as much
// together.
func (v *Values) Margin() int { return v.masks.margin }
