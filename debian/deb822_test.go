package debian

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootandshoot/release/internal/fault"
)

func TestReader(t *testing.T) {
	text := "\n# a comment\nPackage: a\nDescription: first \n second\n .\n\tthird\nEmpty:\n \t\n\nX:1\n# amid\nList:\n one\n#not this\n two\n# end\n\r\nLast:  v"
	got, err := ParseParagraphs("status", text)
	if err != nil {
		t.Fatal(err)
	}
	want := []Paragraph{
		{"status", []Field{{"Package", "a", 3}, {"Description", "first \n second\n .\n\tthird", 4}, {"Empty", "", 8}}},
		{"status", []Field{{"X", "1", 11}, {"List", "one\n two", 13}}},
		{"status", []Field{{"Last", "v", 19}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"first", "second", "", "third"}, Lines(got[0].Get("description"))); diff != "" {
		t.Error(diff)
	}
	if _, ok := got[0].Lookup("Version"); ok || got[0].Line() != 3 {
		t.Error("a field that is not there, or a paragraph elsewhere", got[0].Line())
	}
}

func TestReaderNamesThePlace(t *testing.T) {
	for text, line := range map[string]int{
		" a: b\n": 1, "A: b\nno field\n": 2, "A: b\n\n: c": 3, "A: b\n-B: c": 2, "A: b\nB C: d": 2,
		"A: b\n" + strings.Repeat("B: c\n", maxFields): maxFields + 1,
	} {
		_, err := ParseParagraphs("Packages", text)
		var e *fault.Error
		if !errors.As(err, &e) || e.Code != fault.Failed || e.File != "Packages" || e.Line != line {
			t.Errorf("%.20q: %v, want line %d", text, err, line)
		}
	}
}

func FuzzParagraphs(f *testing.F) {
	f.Add("Package: a\nVersion: 1\nArchitecture: all\n\n# c\nB: c\n d\n#e\n f\n")
	f.Add(releaseText)
	f.Fuzz(func(t *testing.T, text string) {
		for r := NewReader("file", text); ; {
			p, err := r.Next()
			if err != nil {
				if known := new(fault.Error); !errors.Is(err, io.EOF) && (!errors.As(err, &known) || known.Line == 0) {
					t.Errorf("%v", err)
				}
				break
			}
			if len(p.Fields) == 0 {
				t.Error("a paragraph of nothing")
			}
			for _, field := range p.Fields {
				if strings.Contains(field.Value, "\n\n") || field.Name == "" {
					t.Errorf("%+v", field)
				}
			}
			_, _ = ParsePackage(p)
		}
		_, _ = ParsePackages("file", text, 0)
		_, _ = ParseRelease("file", text)
	})
}
