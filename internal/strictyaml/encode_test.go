package strictyaml_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bootandshoot/release/internal/strictyaml"
)

type record struct {
	Name  string            `yaml:"name"`
	Note  string            `yaml:"note,omitempty"`
	Sizes []int             `yaml:"sizes,flow"`
	Env   map[string]string `yaml:"env,omitempty"`
	Part  part              `yaml:"part"`
	More  *part             `yaml:"more"`
	Parts []part            `yaml:"parts,omitempty"`
	Words []string          `yaml:"words,omitempty"`
}

type part struct {
	At    time.Time `yaml:"at,omitempty"`
	Share float64   `yaml:"share,omitempty"`
	On    bool      `yaml:"on,omitempty"`
}

func TestEncode(t *testing.T) {
	at := time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	got, err := strictyaml.Encode(record{
		Name: "8080", Sizes: []int{1, 2}, Env: map[string]string{"B": "x y", "A": "true"}, More: &part{Share: 0.5},
		Parts: []part{{At: at, On: true}, {}}, Words: []string{":8080", "10s", "/srv/app", "registry:5000/a@sha256:00", "a: b", "-x", "", "v1.2.3", "1.10", "~"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `name: "8080"
sizes: [1, 2]
env:
  A: "true"
  B: x y
part: {}
more:
  share: 0.5
parts:
  - at: 2024-02-03T04:05:06Z
    "on": true
  - {}
words:
  - ":8080"
  - 10s
  - /srv/app
  - registry:5000/a@sha256:00
  - "a: b"
  - "-x"
  - ""
  - v1.2.3
  - "1.10"
  - "~"
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// Whatever text is written is read back as that text.
func TestEncodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~\n\t]*`), rapid.StringMatching(`[0-9.eExXobinfa:_+-]{1,8}`), rapid.StringMatching(`[0-9]{20,39}[0-9a-f]`), rapid.StringMatching(`[0-9]{30}[ef]?[0-9]{9,30}`)).
			Filter(func(s string) bool { return !strings.ContainsRune(s, 0) })
		want := record{
			Name:  text.Draw(t, "name"),
			Sizes: rapid.SliceOfN(rapid.Int(), 1, 3).Draw(t, "sizes"),
			Env:   rapid.MapOfN(text, text, 1, 5).Draw(t, "env"),
			More:  &part{Share: rapid.Float64Range(-1e6, 1e6).Draw(t, "share"), On: rapid.Bool().Draw(t, "on")},
			Words: rapid.SliceOfN(text, 1, 5).Draw(t, "words"),
		}
		data, err := strictyaml.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strictyaml.Parse("f", data)
		if err != nil {
			t.Fatalf("%v in\n%s", err, data)
		}
		var got record
		if err := strictyaml.Decode(n, &got).Err(); err != nil {
			t.Fatalf("%v in\n%s", err, data)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s in\n%s", diff, data)
		}
	})
}
