package strictyaml

import (
	"bytes"
	"cmp"
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Encode writes a struct as YAML that Decode reads back equal, keys in the order of the fields, those of maps sorted.
// The tag options are those of Decode and "omitempty" (leave out a zero value; nil pointers always are) and "flow" (a
// list on one line). Fields marked later are left out. An error of a MarshalText is returned.
func Encode(v any) ([]byte, error) {
	e := &encoder{}
	e.structure(reflect.ValueOf(v), 0, false)
	if e.err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, e.err)
	}
	return e.out.Bytes(), nil
}

type encoder struct {
	out bytes.Buffer
	err error
}

// structure writes the keys of a struct, a line each at the given indentation. With inline the first key stands on the line
// that is begun already ("- key: …"). It reports whether anything was written.
func (e *encoder) structure(v reflect.Value, indent int, inline bool) bool {
	v = reflect.Indirect(v)
	wrote := false
	for _, f := range Fields(v.Type()) {
		field := v.FieldByIndex(f.Index)
		options := "," + f.Tag.Get("yaml") + ","
		if f.Later || field.Kind() == reflect.Pointer && field.IsNil() || strings.Contains(options, ",omitempty,") && empty(field) {
			continue
		}
		e.entry(f.Key, field, indent, inline && !wrote, strings.Contains(options, ",flow,"))
		wrote = true
	}
	return wrote
}

func empty(v reflect.Value) bool {
	if v.Kind() == reflect.Map || v.Kind() == reflect.Slice {
		return v.Len() == 0
	}
	return v.IsZero()
}

// entry writes "key: value" with a final newline.
func (e *encoder) entry(key string, v reflect.Value, indent int, inline, flow bool) {
	if !inline {
		e.out.WriteString(strings.Repeat(" ", indent))
	}
	e.out.WriteString(Quote(key) + ":")
	v = reflect.Indirect(v)
	if text, ok := e.scalar(v); ok {
		e.out.WriteString(" " + text + "\n")
		return
	}
	mark := e.out.Len()
	e.out.WriteByte('\n')
	switch {
	case v.Kind() == reflect.Struct:
		if !e.structure(v, indent+2, false) {
			e.replace(mark, " {}\n")
		}
	case v.Kind() == reflect.Map:
		if !e.mapping(v, indent+2) {
			e.replace(mark, " {}\n")
		}
	case flow || v.Len() == 0:
		e.replace(mark, " "+e.flow(v)+"\n")
	default:
		e.list(v, indent+2)
	}
}

func (e *encoder) replace(mark int, text string) {
	e.out.Truncate(mark)
	e.out.WriteString(text)
}

func (e *encoder) mapping(v reflect.Value, indent int) bool {
	names := v.MapKeys()
	slices.SortFunc(names, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
	for _, name := range names {
		e.entry(name.String(), v.MapIndex(name), indent, false, false)
	}
	return len(names) > 0
}

func (e *encoder) list(v reflect.Value, indent int) {
	for i := range v.Len() {
		e.out.WriteString(strings.Repeat(" ", indent) + "- ")
		item := reflect.Indirect(v.Index(i))
		if text, ok := e.scalar(item); ok {
			e.out.WriteString(text + "\n")
		} else if item.Kind() != reflect.Struct {
			e.err = fmt.Errorf("no form for a list of %s", item.Type())
		} else if !e.structure(item, indent+2, true) {
			e.out.WriteString("{}\n")
		}
	}
}

func (e *encoder) flow(v reflect.Value) string {
	items := make([]string, v.Len())
	for i := range items {
		text, ok := e.scalar(v.Index(i))
		if !ok {
			e.err = fmt.Errorf("no one-line form for a list of %s", v.Type().Elem())
		}
		items[i] = text
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// Shortener is implemented by types with two forms, one of which is a word: Short gives it when the value has it.
type Shortener interface{ Short() (string, bool) }

// scalar is the one-line form of a value that has one.
func (e *encoder) scalar(v reflect.Value) (string, bool) {
	if s, ok := v.Interface().(Shortener); ok {
		if text, short := s.Short(); short {
			return Quote(text), true
		}
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err != nil {
			e.err = err
		}
		return Quote(string(text)), true
	}
	switch v.Kind() {
	case reflect.String:
		return Quote(v.String()), true
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64), true
	case reflect.Bool, reflect.Int, reflect.Int64:
		return fmt.Sprint(v.Interface()), true
	}
	return "", false
}

// plain is text that every YAML reader takes as that text: it begins with a letter or a slash and has nothing special.
var plain = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./+@%=~-]*(:[A-Za-z0-9_./+@%=~-]+)*( [A-Za-z0-9_./+@%=~-]+(:[A-Za-z0-9_./+@%=~-]+)*)*$|^[0-9]+(\.[0-9]+)*(ns|ms|m|h|s|[kKMGT]?i?B|%|x)([0-9]+(ms|m|h|s))*$|^[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]+)?$|^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]+Z$`)

// hexadecimal is a checksum that is no number in any notation, so that a list of them looks even.
var hexadecimal = regexp.MustCompile(`^[0-9a-f]*[a-df][0-9a-f]*$`)

// Quote is text as a YAML scalar on one line: plain where no reader could take it for something else, else in double
// quotes.
func Quote(text string) string {
	switch strings.ToLower(text) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		return `"` + text + `"`
	}
	if plain.MatchString(text) || len(text) >= 40 && hexadecimal.MatchString(text) {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xff:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
