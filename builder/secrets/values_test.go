package secrets_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/bootandshoot/release/builder/secrets"
	"pgregory.net/rapid"
)

// TestValuesInAnyForm writes a value in every form, at any place, and looks for it.
func TestValuesInAnyForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOfN(rapid.Byte(), secrets.MinValue+2, 700).Draw(t, "value")
		if value = bytes.TrimSpace(value); len(value) < secrets.MinValue+2 {
			t.Skip()
		}
		before := rapid.SliceOfN(rapid.Byte(), 0, 10).Draw(t, "before")
		whole := slices.Concat(before, value, []byte("tail"))
		v := secrets.NewValues(map[string][]byte{"x": value})
		for form, content := range map[string]string{
			"raw": string(whole), "base64": base64.StdEncoding.EncodeToString(whole), "url64": base64.RawURLEncoding.EncodeToString(whole),
			"hex": hex.EncodeToString(whole), "query": url.QueryEscape(string(whole)), "path": url.PathEscape(string(whole)),
		} {
			got, err := v.Find(iotest.OneByteReader(strings.NewReader(content)))
			if err != nil || !slices.Equal(got, []string{"x"}) {
				t.Fatalf("%s of %q: %v %v", form, value, got, err)
			}
		}
	})
}

func TestValues(t *testing.T) {
	v := secrets.NewValues(map[string][]byte{
		"one": []byte("s3cr\"et&value\n"), "two": []byte("s3cr\"et&value and more"), "short": []byte("abc"),
		"lines": []byte("first line of it\nsecond line of it\n}\n"),
	})
	quoted, _ := json.Marshal("a s3cr\"et&value b")
	for text, want := range map[string]string{
		"nothing": "", "abc": "", "x s3cr\"et&value y": "one", "s3cr\"et&value and more": "one two", string(quoted): "one",
		"first line of it\nsecond line of it\n}": "lines", "first line of it": "",
	} {
		if got := strings.Join(v.In(text), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"x s3cr\"et&value and more": "x ***", "s3cr\"et&value,s3cr\"et&value": "***,***", "> second line of it": "> ***", "}": "}",
	} {
		if got := v.Mask(text); got != want {
			t.Errorf("%q is masked as %q, want %q", text, got, want)
		}
	}
	if v.Margin() < len("first line of it\nsecond line of it\n}") {
		t.Errorf("margin %d", v.Margin())
	}
	none := secrets.NewValues(nil)
	if got := none.In("text"); len(got) > 0 || none.Mask("text") != "text" {
		t.Errorf("no values: %v", got)
	}
}
