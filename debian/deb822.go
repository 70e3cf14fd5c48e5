package debian

import (
	"errors"
	"io"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// maxFields bounds a paragraph. The largest of Debian have about 40.
const maxFields = 1024

// Field is one field of a paragraph.
type Field struct {
	Name string // as written; names are equal when they differ in case only
	// Value is without the blanks around it. The lines after the first stand as in the file, with their leading blank:
	// use Lines for their content.
	Value string
	Line  int // of its name, from 1
}

// Paragraph is a block of fields in the order of the file.
type Paragraph struct {
	File   string // the file's name, for errors
	Fields []Field
}

// Lookup gives the value of a field and whether the paragraph has it.
func (p Paragraph) Lookup(name string) (string, bool) {
	for i := range p.Fields {
		if equalName(p.Fields[i].Name, name) {
			return p.Fields[i].Value, true
		}
	}
	return "", false
}

// Get gives the value of a field, "" when the paragraph does not have it.
func (p Paragraph) Get(name string) string {
	value, _ := p.Lookup(name)
	return value
}

// Line is where the paragraph begins, from 1.
func (p Paragraph) Line() int {
	if len(p.Fields) == 0 {
		return 0
	}
	return p.Fields[0].Line
}

// Clone is a copy that later reads do not change.
func (p Paragraph) Clone() Paragraph {
	p.Fields = append([]Field(nil), p.Fields...)
	return p
}

// errorAt is an error in the named field.
func (p Paragraph) errorAt(name, format string, args ...any) error {
	line := p.Line()
	for _, f := range p.Fields {
		if equalName(f.Name, name) {
			line = f.Line
		}
	}
	return fault.New(fault.Failed, "field "+name+": "+format, args...).At(p.File, line, 0)
}

// Lines are the lines of a value without their blanks. The line "." of a text, which stands for an empty one, is "".
func Lines(value string) []string {
	if value == "" {
		return nil
	}
	lines := strings.Split(value, "\n")
	for i, line := range lines {
		if lines[i] = trim(line); lines[i] == "." {
			lines[i] = ""
		}
	}
	return lines
}

// Reader reads the paragraphs of a file that is in memory. What it gives are pieces of that text: nothing is copied, and the
// text stays in memory as long as a piece of it is used.
type Reader struct {
	file   string
	rest   string
	line   int // of the first line of rest
	fields []Field
}

// NewReader reads text; errors name it by file.
func NewReader(file, text string) *Reader { return &Reader{file: file, rest: text, line: 1} }

// Next gives the next paragraph, io.EOF after the last. Its Fields are overwritten by the next call: Clone keeps them.
func (r *Reader) Next() (Paragraph, error) {
	r.fields = r.fields[:0]
	for r.rest != "" {
		line, after := cutLine(r.rest)
		switch {
		case line != "" && line[0] == '#':
		case blank(line):
			if len(r.fields) > 0 {
				return Paragraph{File: r.file, Fields: r.fields}, nil
			}
		default:
			if err := r.field(line, after); err != nil {
				return Paragraph{}, err
			}
			continue
		}
		r.rest = after
		r.line++
	}
	if len(r.fields) > 0 {
		return Paragraph{File: r.file, Fields: r.fields}, nil
	}
	return Paragraph{}, io.EOF
}

// field takes a field with the lines that continue it off the rest.
func (r *Reader) field(first, after string) error {
	colon := strings.IndexByte(first, ':')
	switch {
	case first[0] == ' ' || first[0] == '\t':
		return r.errorf("a line that continues a field stands before any field")
	case colon <= 0 || !fieldName(first[:colon]):
		return r.errorf("%s is no field: NAME: VALUE is expected", quote(first))
	case len(r.fields) == maxFields:
		return r.errorf("a paragraph with more than %d fields", maxFields)
	}
	f := Field{Name: first[:colon], Line: r.line}
	start := r.rest[colon+1:]
	end := len(first) - colon - 1 // of the value in start
	var joined strings.Builder    // what stands before a comment
	r.line++
	for after != "" {
		line, next := cutLine(after)
		if line != "" && line[0] == '#' { // a comment amid the field: what follows cannot be one piece with it
			if end > 0 {
				joined.WriteString(start[:end] + "\n")
			}
			start, end = next, 0
		} else if continues(line) {
			end = len(start) - len(after) + len(line)
		} else {
			break
		}
		after = next
		r.line++
	}
	if f.Value = start[:end]; joined.Len() > 0 {
		joined.WriteString(f.Value)
		f.Value = joined.String()
	}
	f.Value = trim(f.Value)
	r.fields = append(r.fields, f)
	r.rest = after
	return nil
}

func (r *Reader) errorf(format string, args ...any) error {
	return fault.New(fault.Failed, format, args...).At(r.file, r.line, 0)
}

// cutLine gives the first line without its end and what follows it.
func cutLine(s string) (line, rest string) {
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// continues reports whether a line belongs to the field above it.
func continues(line string) bool {
	return line != "" && (line[0] == ' ' || line[0] == '\t') && !blank(line)
}

// blank reports whether a line ends a paragraph.
func blank(line string) bool {
	for i := range len(line) {
		if c := line[i]; c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// fieldName takes printable ASCII without blanks, not beginning with a hyphen (deb822(5)).
func fieldName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' {
			return false
		}
	}
	return name[0] != '-'
}

func quote(line string) string {
	if len(line) > 60 {
		line = line[:60] + "…"
	}
	return `"` + strings.ToValidUTF8(line, "?") + `"`
}

// equalName compares field names, in ASCII only and without looking at names of another length.
func equalName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	return a == b || strings.EqualFold(a, b)
}

// ParseParagraphs reads all paragraphs of a small file.
func ParseParagraphs(file, text string) ([]Paragraph, error) {
	var all []Paragraph
	for r := NewReader(file, text); ; {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, p.Clone())
	}
}
