package http1

import (
	"strings"
	"testing"
)

func headOf(method, target, host string, fields ...string) *Head {
	h := &Head{Method: []byte(method), Target: []byte(target), Host: []byte(host), Minor: 1}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		h.Fields = append(h.Fields, Field{Name: []byte(name), Value: []byte(value)})
	}
	return h
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("a", MaxTarget)
	tests := []struct {
		name string
		h    *Head
		want *Error // nil: let through
	}{
		{"plain", headOf("GET", "/a?b", "h:80", "x-a:b"), nil},
		{"no host", headOf("GET", "/", ""), nil},
		{"asterisk", headOf("OPTIONS", "*", "h"), nil},
		{"authority", headOf("CONNECT", "h:443", "h:443"), nil},
		{"longest", headOf("GET", "/"+long[1:], "h"), nil},
		{"request line in the method", headOf("GET / HTTP/1.1 x", "/", "h"), errMethod},
		{"no method", headOf("", "/", "h"), errMethod},
		{"long method", headOf(strings.Repeat("A", 65), "/", "h"), errMethodLong},
		{"space in the path", headOf("GET", "/a b", "h"), errTarget},
		{"version in the path", headOf("GET", "/a HTTP/1.0", "h"), errTarget},
		{"space at the end", headOf("GET", "/a ", "h"), errTarget},
		{"fragment", headOf("GET", "/#a", "h"), errTarget},
		{"not ASCII", headOf("GET", "/\xff", "h"), errTarget},
		{"half an escape", headOf("GET", "/%4", "h"), errTarget},
		{"no path", headOf("GET", "", "h"), errTarget},
		{"long path", headOf("GET", "/"+long, "h"), errTargetLong},
		{"another host in the path", headOf("GET", "http://b/", "h"), errTarget},
		{"two authorities", headOf("CONNECT", "h:443", "i:443"), errTarget},
		{"host with a path", headOf("GET", "/", "h/x"), errHost},
		{"host with a user", headOf("GET", "/", "a@h"), errHost},
		{"host with a quote", headOf("GET", "/", "h\""), errHost},
		{"Host as a field", headOf("GET", "/", "h", "host:h"), errTwoHosts},
		{"line end in a value", headOf("GET", "/", "h", "a:b\r\nc"), errValue},
		{"NUL in a value", headOf("GET", "/", "h", "a:\x00"), errValue},
		{"colon in a name", headOf("GET", "/", "h", ":path"), errName},
		{"space in a name", headOf("GET", "/", "h", "a b:c"), errName},
		{"length that is none", headOf("POST", "/", "h", "content-length:abc"), errLength},
		{"length with a sign", headOf("POST", "/", "h", "content-length:+5"), errLength},
		{"two lengths", headOf("POST", "/", "h", "content-length:5", "content-length:5"), errTwoLengths},
		{"disguised length", headOf("GET", "/", "h", "content_length:5"), errDisguised},
		{"trailer of framing", headOf("GET", "/", "h", "trailer:content-length"), errTrailerName},
		{"many fields", headOf("GET", "/", "h", strings.Split(strings.Repeat("a:,", MaxFields), ",")...), errManyFields},
	}
	for _, test := range tests {
		if err := test.h.Check(); test.want == nil && err != nil || test.want != nil && err != error(test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

func TestCheckFillsIn(t *testing.T) {
	h := headOf("GET", "/a?b", "h", "te: trailers ", "x-forwarded-for:1", "X_Real_IP:2")
	if err := h.Check(); err != nil || string(h.Path) != "/a" || string(h.Query) != "b" || !h.Trailers ||
		h.Fields[0].Known != TE || string(h.Fields[0].Value) != "trailers" || h.Fields[1].Known != XForwardedFor || h.Fields[2].Known != XForwardedOther {
		t.Errorf("%v %+v", err, h)
	}
}

// FuzzCheck writes what was let through and parses it: the same must come out.
func FuzzCheck(f *testing.F) {
	f.Add("GET", "/a?b", "h:80", "x-a", " b ")
	f.Add("OPTIONS", "*", "", "te", "trailers")
	f.Add("CONNECT", "h:1", "h:1", "cookie", "")
	f.Add("GET / HTTP/1.1 x", "/%4", "h i", "a:", "b\r\n")
	f.Fuzz(func(t *testing.T, method, target, host, name, value string) {
		h := headOf(method, target, host)
		h.Fields = append(h.Fields, Field{Name: []byte(name), Value: []byte(value)})
		if h.Check() != nil {
			return
		}
		switch h.Fields[0].Known {
		case ContentLength, TransferEncoding, Connection, Upgrade, Expect, TE:
			return
		}
		b := appendRequestLine(nil, h.Method, h.AppendTarget(nil))
		b = AppendField(b, "Host", h.Host)
		b = AppendHeadEnd(AppendField(b, h.Fields[0].Name, h.Fields[0].Value))
		var again Head
		n, err := ParseRequest(b, &again)
		if len(b) > MaxHead {
			return
		}
		if err != nil || n != len(b) || show(h) != show(&again) || len(again.Fields) != 2 || string(again.Fields[1].Name) != name ||
			string(again.Fields[1].Value) != string(h.Fields[0].Value) || again.Fields[1].Known != h.Fields[0].Known || again.Form != h.Form {
			t.Fatalf("%q: %v\n%s\n%s", b, err, show(h), show(&again))
		}
	})
}
