package strictyaml_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/strictyaml"
)

type level string

func (l *level) UnmarshalText(b []byte) error {
	if string(b) != "low" && string(b) != "7" {
		return fmt.Errorf("%q is no level", b)
	}
	*l = level(b)
	return nil
}

type either struct{ Words []string }

func (e *either) UnmarshalNode(n *strictyaml.Node, path string) error {
	if n.Kind == strictyaml.Text {
		e.Words = []string{n.Text}
		return nil
	}
	return strictyaml.DecodeAt(n, &e.Words, path).Err()
}

type inner struct {
	Port int              `yaml:"port,required" minimum:"1" maximum:"65535"`
	On   bool             `yaml:"on"`
	Node *strictyaml.Node `yaml:"-"`
}

type common struct {
	Name string `yaml:"name,required"`
}

type document struct {
	common
	Size   int               `yaml:"size" default:"3"`
	Share  float64           `yaml:"share"`
	Colour string            `yaml:"colour" enum:"red,green"`
	Level  level             `yaml:"level"`
	Tags   []string          `yaml:"tags"`
	Env    map[string]string `yaml:"env"`
	Inner  *inner            `yaml:"inner"`
	List   []inner           `yaml:"list"`
	Cmd    either            `yaml:"cmd"`
	Later  string            `yaml:"packages,later"`
}

func decode(src string) (document, error) {
	var d document
	strictyaml.Defaults(&d)
	n, err := strictyaml.Parse("f.yaml", []byte(src))
	if err != nil {
		return d, err
	}
	return d, strictyaml.Sort(strictyaml.Decode(n, &d)).Err()
}

func TestDecode(t *testing.T) {
	got, err := decode("\ufeffname: shop\nshare: 1\nlevel: 7\ncolour: red\ntags: [a, 'b']\nenv: {PORT: \"8080\"}\ninner:\n  port: 80\n  on: true\nlist:\n  - port: 1\n  - {port: 2}\ncmd: x\n")
	if err != nil {
		t.Fatal(err)
	}
	if pos := got.List[1].Node.Pos; pos != (strictyaml.Pos{File: "f.yaml", Line: 12, Column: 5}) {
		t.Errorf("second item is at %v", pos)
	}
	got.Inner.Node, got.List[0].Node, got.List[1].Node = nil, nil, nil
	want := document{
		common: common{"shop"}, Size: 3, Share: 1, Colour: "red", Level: "7", Tags: []string{"a", "b"},
		Env: map[string]string{"PORT": "8080"}, Inner: &inner{Port: 80, On: true}, List: []inner{{Port: 1}, {Port: 2}}, Cmd: either{[]string{"x"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(document{}, common{})); diff != "" {
		t.Error(diff)
	}
}

// Each case is a document and the whole error text.
func TestErrors(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"empty":            {"", `1:1: the file must be a mapping, but is empty`},
		"comment only":     {"# x\n", `1:1: the file must be a mapping, but is empty`},
		"list":             {"- a\n", `1:1: the file must be a mapping, not a list`},
		"missing":          {"size: 1\n", `1:1: name is missing`},
		"empty value":      {"size: 1\nname:\n", `1:1: name is missing`},
		"unknown":          {"name: a\nsizw: 1\n", `2:1: unknown key "sizw", did you mean "size"?`},
		"unknown far":      {"name: a\nwhatever: 1\n", `2:1: unknown key "whatever"`},
		"unknown nested":   {"name: a\ninner: {port: 1, pert: 2}\n", `2:18: unknown key "pert" in inner, did you mean "port"?`},
		"unknown in list":  {"name: a\nlist:\n  - port: 1\n  - port: 2\n    prot: 3\n", `5:5: unknown key "prot" in list[1], did you mean "port"?`},
		"later":            {"name: a\npackages: [x]\n", `2:1: packages is not supported by this version of release`},
		"number for text":  {"name: 1.10\n", `1:7: name must be text, not a number 1.10`},
		"bool for text":    {"name: true\n", `1:7: name must be text, not true or false true`},
		"text for number":  {"name: a\nsize: four\n", `2:7: size must be a whole number, not text "four"`},
		"float for number": {"name: a\nsize: 1.5\n", `2:7: size must be a whole number, not a number 1.5`},
		"octal":            {"name: a\nsize: 010\n", `2:7: size must be a whole number in decimal digits, not 010`},
		"hex":              {"name: a\nsize: 0x10\n", `2:7: size must be a whole number in decimal digits, not 0x10`},
		"huge":             {"name: a\nsize: 99999999999999999999\n", `2:7: size must be a whole number, not text "99999999999999999999"`},
		"infinite":         {"name: a\nshare: .inf\n", `2:8: share must be a plain number, not .inf`},
		"text for bool":    {"name: a\ninner: {port: 1, on: yes}\n", `2:22: inner.on must be true or false, not text "yes"`},
		"text for list":    {"name: a\ntags: x\n", `2:7: tags must be a list, not text "x"`},
		"list for map":     {"name: a\nenv: [x]\n", `2:6: env must be a mapping, not a list`},
		"map for text":     {"name: {a: b}\n", `1:7: name must be text, not a mapping`},
		"number in env":    {"name: a\nenv:\n  PORT: 8080\n", `3:9: env.PORT must be text, not a number 8080`},
		"null in env":      {"name: a\nenv:\n  PORT:\n", `3:3: env.PORT must be text, but is empty`},
		"null in list":     {"name: a\ntags: [~]\n", `2:8: tags[0] must be text, but is empty`},
		"below":            {"name: a\ninner: {port: 0}\n", `2:15: inner.port must be at least 1, not 0`},
		"above":            {"name: a\ninner: {port: 65536}\n", `2:15: inner.port must be at most 65535, not 65536`},
		"enum":             {"name: a\ncolour: gren\n", `2:9: unknown value "gren" for colour, did you mean "green"?`},
		"text type":        {"name: a\nlevel: high\n", `2:8: level: "high" is no level`},
		"text type list":   {"name: a\nlevel: []\n", `2:8: level must be a single value, not a list`},
		"own form":         {"name: a\ncmd: [1]\n", `2:7: cmd[0] must be text, not a number 1`},
		"nested required":  {"name: a\nlist:\n  - on: true\n", `3:5: list[0].port is missing`},
		"zero byte":        {"name: \"a\\0b\"\n", `1:7: name must not contain a zero byte`},
		"duplicate":        {"name: a\nsize: 1\nname: b\n", `3:1: key "name" is given twice, first in line 1`},
		"duplicate nested": {"name: a\nenv: {A: a, A: b}\n", `2:13: key "A" is given twice, first in line 2`},
		"two documents":    {"name: a\n---\nname: b\n", `2:1: a second document begins here; a file holds one`},
		"anchor":           {"name: &a x\n", `1:7: anchors and aliases are not supported here`},
		"merge":            {"name: a\n<<: {size: 1}\n", `2:1: merge keys are not supported here`},
		"tag":              {"name: !!str x\n", `1:7: tags are not supported here`},
		"directive":        {"%YAML 1.2\n---\nname: a\n", `1:1: directives are not supported here`},
		"not UTF-8":        {"name: é\nsize: \xff\n", `2:7: byte 0xff is not UTF-8 text`},
		"carriage return":  {"name: a\r\nenv: {é: x\ry}\r\n", `2:11: a carriage return must be followed by the end of the line`},
		"unclosed":         {"name: a\ntags: [a\n", `2:7: sequence end token ']' not found`},
		"tab":              {"inner:\n\tport: 1\n", `2:1: found character '	' that cannot start any token`},
		"all at once":      {"nam: a\nsize: x\ninner: {port: 0, x: 1}\n", "1:1: unknown key \"nam\", did you mean \"name\"?\n1:1: name is missing\n2:7: size must be a whole number, not text \"x\"\n3:15: inner.port must be at least 1, not 0\n3:18: unknown key \"x\" in inner"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decode(c.src)
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), "f.yaml:", ""); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if fault.CodeOf(err) != fault.Invalid {
				t.Errorf("code is %s", fault.CodeOf(err))
			}
		})
	}
}

func TestHints(t *testing.T) {
	_, err := decode("name: 1\nsizw: 1\n")
	all := fault.All(err)
	if len(all) != 2 {
		t.Fatal(err)
	}
	if want := `put it in quotes: "1"`; all[0].Hint != want {
		t.Errorf("hint %q", all[0].Hint)
	}
	if want := "valid here: name, size, share, colour, level, tags, env, inner, list, cmd"; all[1].Hint != want {
		t.Errorf("hint %q", all[1].Hint)
	}
}

func TestLimits(t *testing.T) {
	for name, src := range map[string]string{
		"empty lines": "a: |\n" + strings.Repeat(" \n", 10_000),
		"flow":        "name: " + strings.Repeat("[", 200_000),
		"flow maps":   strings.Repeat("{a: ", 100_000),
		"entries":     strings.Repeat("- ", 100_000) + "a",
		"block":       nestedBlock(200),
		"questions":   strings.Repeat("? ", 50_000),
		"large":       "name: " + strings.Repeat("a", strictyaml.MaxSize),
		"many parts":  strings.Repeat("- a\n", strictyaml.MaxTokens),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := decode(src); err == nil || len(err.Error()) > 1000 {
				t.Errorf("got %.1000v", err)
			}
		})
	}
}

func nestedBlock(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := strictyaml.Read(filepath.Join(dir, "none.yaml")); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := strictyaml.Read(dir); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	path := filepath.Join(dir, "a.yaml")
	if err := os.WriteFile(path, []byte("a: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := strictyaml.Read(path); err != nil || n.Get("a").Text != "1" {
		t.Errorf("got %v, %v", n, err)
	}
}

func TestMergeAndLocate(t *testing.T) {
	base, _ := strictyaml.Parse("base", []byte("a: {b: 1, c: [1, 2], d: x}\ne: 1\n"))
	over, _ := strictyaml.Parse("over", []byte("a:\n  c: [3]\n  d:\n  f: {g: 1}\n"))
	m := strictyaml.Merge(base, over)
	for _, c := range []struct {
		path []any
		want string
	}{
		{[]any{"a", "b"}, "base:1:8"},
		{[]any{"a", "c", 0}, "over:2:7"},
		{[]any{"a", "c", 7}, "over:2:6"},
		{[]any{"a", "f", "g", "deeper"}, "over:4:10"},
		{[]any{"e"}, "base:2:4"},
		{nil, "base:1:1"},
	} {
		p := m.Locate(c.path...)
		if got := fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column); got != c.want {
			t.Errorf("%v: got %s, want %s", c.path, got, c.want)
		}
	}
	if m.Get("a").Get("d") != nil {
		t.Error("an empty value did not take the key away")
	}
	if base.Get("a").Get("d") == nil || base.Get("a").Get("f") != nil {
		t.Error("merging changed the base")
	}
	if p := m.LocateKey("a", "f"); p.Line != 4 || p.Column != 3 {
		t.Errorf("key is at %v", p)
	}
	if rest := m.Without("a"); rest.Get("a") != nil || rest.Get("e") == nil || m.Get("a") == nil {
		t.Error("Without took the wrong keys")
	}
}

func TestNearest(t *testing.T) {
	words := []string{"fleet", "health", "route", "cutover", "TERM", "size", "stats", "status"}
	for word, want := range map[string]string{
		"flet": "fleet", "helath": "health", "routes": "route", "SIGTERM": "TERM", "cut_over": "cutover", "Size": "size", "stauts": "status", "statu": "stats", "statas": "status", "stat": "stats", "zzz": "", "": "", "x": "",
	} {
		if got := strictyaml.Nearest(word, words); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"name: a\nsize: 1\n", "a: [1, {b: c}]", "x: |\n  a\n b", "? a\n: b\n", "- - - a", "a: &b c\nd: *b", "{", "\"", "a: >-\n\n\n", "%", "---\n...\n---", "!!", "name: [", "- a\n-b: c", "\t", "a:\r\n  b", "a: 'b",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := strictyaml.Parse("f", data)
		if err != nil {
			checkPlaces(t, data, err)
			return
		}
		var d document
		checkPlaces(t, data, strictyaml.Decode(n, &d).Err())
	})
}

// checkPlaces: every error is invalid input at a line that the file has.
func checkPlaces(t *testing.T, data []byte, err error) {
	lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + 1
	for _, e := range fault.All(err) {
		if e.Code != fault.Invalid || e.File != "f" || e.Line < 1 || e.Line > lines+1 || e.Column < 1 {
			t.Errorf("error without a good place: %+v", e)
		}
	}
}
