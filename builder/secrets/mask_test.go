package secrets_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder/secrets"
	"pgregory.net/rapid"
)

// TestMaskForms writes a value as tools do that print it, and looks at what is left.
func TestMaskForms(t *testing.T) {
	const token = "gh_Tok3n/with+some=odd&chars? 9f8e7d6c5b4a39281706"
	v := secrets.NewValues(map[string][]byte{"token": []byte(token + "\n"), "tiny": []byte("s3cr3t")})
	std, safe := base64.StdEncoding, base64.URLEncoding
	for name, c := range map[string]struct{ text, want string }{
		"plain":                  {"x " + token + " y", "x *** y"},
		"base64":                 {"x " + std.EncodeToString([]byte(token)) + " y", "x *** y"},
		"base64, no padding":     {"x=" + base64.RawStdEncoding.EncodeToString([]byte(token)) + ";", "x=***;"},
		"base64 for URLs":        {"x " + safe.EncodeToString([]byte(token)) + " y", "x *** y"},
		"base64 of the file":     {std.EncodeToString([]byte(token + "\n")), "***K"}, /* the line end */
		"base64, one before":     {std.EncodeToString([]byte("u" + token)), "d***"},
		"base64, two before":     {std.EncodeToString([]byte("u:" + token)), "dT***"},
		"base64, three before":   {std.EncodeToString([]byte("u::" + token)), "dTo6***"},
		"base64, between more":   {"Basic " + std.EncodeToString([]byte("user:"+token+"!@host.example")), "Basic dXNlcj***FAaG9zdC5leGFtcGxl"},
		"base64 of a short one":  {std.EncodeToString([]byte("s3cr3t")) + " " + std.EncodeToString([]byte("a:s3cr3t")), "*** YTp***Q="},
		"hex":                    {"x " + hex.EncodeToString([]byte(token)) + " y", "x *** y"},
		"HEX":                    {strings.ToUpper(hex.EncodeToString([]byte(token))), "***"},
		"query":                  {"?token=" + url.QueryEscape(token) + "&a=b", "?token=***&a=b"},
		"path":                   {"/" + url.PathEscape(token) + "/", "/***/"},
		"every sign but letters": {strings.NewReplacer("/", "%2F", "+", "%2B", "=", "%3D", "&", "%26", "?", "%3F", " ", "%20").Replace(token), "***"},
		"slashes stay":           {strings.NewReplacer("+", "%2B", "=", "%3D", "&", "%26", "?", "%3F", " ", "%20").Replace(token), "***"},
		"small digits":           {strings.NewReplacer("/", "%2f", "+", "%2b", "=", "%3d", "&", "%26", "?", "%3f", " ", "%20").Replace(token), "***"},
		"twice":                  {std.EncodeToString([]byte(token)) + "," + token, "***,***"},
		"a piece":                {std.EncodeToString([]byte(token))[5:30] + "…", "***…"},
		"nothing of it":          {"sha256:" + strings.Repeat("0123456789abcdef", 4), "sha256:" + strings.Repeat("0123456789abcdef", 4)},
	} {
		if got := v.Mask(c.text); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestMaskWrapped prints long values as base64, openssl and xxd wrap them.
func TestMaskWrapped(t *testing.T) {
	var value strings.Builder
	for i := range 400 {
		fmt.Fprintf(&value, "%x-", i*i*7919)
	}
	for _, size := range []int{58, 100, 1000, value.Len()} {
		secret := []byte(value.String()[:size])
		v := secrets.NewValues(map[string][]byte{"x": secret})
		for _, before := range []string{"", "u", "u:", "user:"} {
			for _, whole := range []string{base64.StdEncoding.EncodeToString(append([]byte(before), secret...)), hex.EncodeToString(append([]byte(before), secret...))} {
				for _, width := range []int{60, 64, 76} {
					for line := range slices.Chunk([]byte(whole), width) {
						got := v.Mask(string(line))
						// The last line may be shorter than what is known again; and what stands before the value stays.
						left := strings.TrimRight(strings.ReplaceAll(got, "***", ""), "=")
						if most := 3 + 2*len(before); len(line) == width && len(left) > most || len(left) > max(most, 7) {
							t.Errorf("%d bytes behind %q in lines of %d: %q of %q is left", size, before, width, got, line)
						}
					}
				}
			}
		}
	}
}

// TestMaskLeavesNoPiece draws values and what stands around them.
func TestMaskLeavesNoPiece(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := bytes.TrimSpace(rapid.SliceOfN(rapid.Byte(), 12, 300).Draw(t, "value"))
		if len(value) < 12 {
			t.Skip()
		}
		before := rapid.SliceOfN(rapid.Byte(), 0, 10).Draw(t, "before")
		v := secrets.NewValues(map[string][]byte{"x": value})
		whole := slices.Concat(before, value)
		for _, text := range []string{base64.StdEncoding.EncodeToString(whole), base64.RawURLEncoding.EncodeToString(whole), hex.EncodeToString(whole)} {
			got := v.Mask(text)
			if kept := strings.SplitN(got, "***", 2)[0]; len(kept) > 2*len(before)+2 && len(strings.Trim(kept, "A0")) > 0 && varied(text) {
				t.Fatalf("%q of %q is left of %q", got, text, value)
			}
			if !varied(text) {
				continue
			}
			if !strings.Contains(got, "***") {
				t.Fatalf("%q is not masked", text)
			}
		}
	})
}

// varied reports whether each piece of eight characters has at least three different ones: others are not masked.
func varied(text string) bool {
	for i := 0; i+8 <= len(text); i++ {
		seen := map[byte]bool{}
		for _, c := range []byte(text[i : i+8]) {
			seen[c] = true
		}
		if len(seen) < 3 {
			return false
		}
	}
	return true
}

// A long value is hidden whole, and no more of a line has to be kept for that than a few KiB.
func TestMaskLongValue(t *testing.T) {
	secret := strings.Repeat("0123456789abcdefghijklmnopqrstuv", 1<<15)[:1<<20-7]
	v := secrets.NewValues(map[string][]byte{"x": []byte(secret)})
	for _, text := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret[4000:50000])), hex.EncodeToString([]byte(secret[:100]))} {
		if left := strings.ReplaceAll(v.Mask(text), "***", ""); len(left) > 8 {
			t.Errorf("%d characters are left", len(left))
		}
	}
	if v.Margin() > 4096 {
		t.Errorf("margin %d", v.Margin())
	}
}

// TestMaskEven is a value whose base64 and hex are of one character each, which says nothing: the value itself is hidden.
func TestMaskEven(t *testing.T) {
	v := secrets.NewValues(map[string][]byte{"even": []byte("UUUUUU")})
	if got := v.Mask("x UUUUUU y"); got != "x *** y" {
		t.Errorf("%q", got)
	}
}
