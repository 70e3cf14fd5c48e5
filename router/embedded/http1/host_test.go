package http1

import (
	"net/netip"
	"testing"
)

func TestValidHost(t *testing.T) {
	for host, want := range map[string]bool{
		"a": true, "a.example": true, "A.Example.": true, "a_b": true, "a:80": true, "a:": true, "a:65535": true,
		"127.0.0.1:8080": true, "[::1]": true, "[::1]:80": true, "[::ffff:1.2.3.4]": true, "a~!$&'()*+,;=": true,
		"": false, ":80": false, "a:123456": false, "[]": false, "[1.2.3.4]": false, "[::1]80": false, "[v1.a]": false,
		"a[b": false, "a]": false, "a b": false, "a\tb": false, "a\"": false, "a|b": false, "a^": false, "<a>": false,
	} {
		if got := validHost([]byte(host)); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

// FuzzIPv6 holds the check of an address against net/netip's, which cannot be asked without an allocation.
func FuzzIPv6(f *testing.F) {
	for _, s := range []string{
		"::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7",
		":1", "1:", ":::", "1:::2", "1::2::3", "12345::", "g::", "::1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4",
		"::1.2.3", "::1.2.3.256", "::01.2.3.4", "::1.2.3.4:5", "1.2.3.4", "1.2.3.4::", "::.1.2.3", "::1..2.3", "::1.2.3.4.5",
		"1:2:3:4:5:6:7::8", "::1.2.3.", "", ":", ".", "::ffff:0.0.0.0", "::1.2.3.0004",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := netip.ParseAddr(s)
		want := err == nil && addr.Is6() && addr.Zone() == ""
		if got := validIPv6([]byte(s)); got != want {
			t.Fatalf("%q: %v, net/netip says %v", s, got, want)
		}
	})
}
