package http1

import (
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	for k := Other + 1; k < unknown; k++ {
		name := k.String()
		if name == "" && k == XForwardedOther {
			continue
		}
		for _, spelling := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			if got := lookup([]byte(spelling)); got != k {
				t.Errorf("%s: %d, want %d", spelling, got, k)
			}
		}
		for _, other := range []string{name + "x", "x" + name, name[:len(name)-1], name[:len(name)-1] + "~"} {
			if got := lookup([]byte(other)); got != Other && got != XForwardedOther && got.String() != other {
				t.Errorf("%s: %s", other, got)
			}
		}
	}
	for name, want := range map[string]Known{
		"X-Forwarded-Server": XForwardedOther, "x-forwarded-": Other, "X-Forwarded": Other, "Accept": Other,
		"X-Forwarded-Something-Quite-Long-And-Longer": XForwardedOther,
	} {
		if got := lookup([]byte(name)); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

func TestLookupDisguised(t *testing.T) {
	for name, want := range map[string]Known{
		"X_Forwarded_For": XForwardedOther, "x-forwarded_proto": XForwardedOther, "X_REAL_IP": XForwardedOther,
		"X_Forwarded_Server": XForwardedOther, "X-Forwarded-My_Own": XForwardedOther,
		"my_field": Other, "set_cookie": Other, strings.Repeat("_", 100): Other,
	} {
		if got, err := lookupDisguised([]byte(name)); got != want || err != nil {
			t.Errorf("%s: %d %v, want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"Content_Length", "TRANSFER_ENCODING", "transfer_encoding"} {
		if _, err := lookupDisguised([]byte(name)); err != error(errDisguised) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
