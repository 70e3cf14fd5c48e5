package http1

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// refusals are requests that no node may see, by what is wrong with them: each kind that was published as a way to
// make two servers read the same bytes differently, and the plainly broken.
var refusals = []struct {
	name, in string
	want     *Error
}{
	{"CL.TE", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED", errBoth},
	{"TE.CL", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n", errBoth},
	{"TE.0", "OPTIONS / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", errEncoding10},
	{"TE.TE, another value", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", errTwoEncoding},
	{"TE.TE, the same twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: chunked\r\n\r\n", errTwoEncoding},
	{"TE.TE, cow first", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n\r\n", errEncoding},
	{"TE xchunked", teRequest(" xchunked"), errEncoding},
	{"TE chunkedx", teRequest(" chunkedx"), errEncoding},
	{"TE vertical tab", teRequest(" \x0bchunked"), errValue},
	{"TE form feed", teRequest(" chunked\x0c"), errValue},
	{"TE NUL", teRequest(" chunked\x00"), errValue},
	{"TE no-break space", teRequest(" \xa0chunked"), errEncoding},
	{"TE next line", teRequest(" \x85chunked"), errEncoding},
	{"TE quoted", teRequest(` "chunked"`), errEncoding},
	{"TE with a parameter", teRequest(" chunked;q=1"), errEncoding},
	{"TE identity", teRequest(" identity"), errEncoding},
	{"TE identity, chunked", teRequest(" identity, chunked"), errEncoding},
	{"TE gzip, chunked", teRequest(" gzip, chunked"), errEncoding},
	{"TE chunked twice in one", teRequest(" chunked, chunked"), errEncoding},
	{"TE trailing comma", teRequest(" chunked,"), errEncoding},
	{"TE empty", teRequest(""), errEncoding},
	{"TE Kelvin sign", teRequest(" chun\u212aed"), errEncoding},
	{"TE folded", teRequest("\r\n chunked"), errEncoding},
	{"TE folded after", teRequest(" chunked\r\n x"), errFolded},
	{"TE after bare CR", teRequest(" x\rTransfer-Encoding: chunked"), errLineEnd},
	{"TE after bare LF", teRequest(" chunked\nX: y"), errLineEnd},
	{"TE, space before colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", errSpaceColon},
	{"TE, tab before colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n", errSpaceColon},
	{"TE, NUL before colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\x00: chunked\r\n\r\n", errName},
	{"TE, CR before colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\r: chunked\r\n\r\n", errName},
	{"TE, leading space", "POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n", errFolded},
	{"TE as first field, leading space", "POST / HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: a\r\n\r\n", errFolded},
	{"TE, leading vertical tab", "POST / HTTP/1.1\r\nHost: a\r\n\x0bTransfer-Encoding: chunked\r\n\r\n", errName},
	{"TE, not ASCII", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encod\xc4\xb1ng: chunked\r\n\r\n", errName},
	{"TE with an underscore", "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n", errDisguised},
	{"CL with an underscore", "POST / HTTP/1.1\r\nHost: a\r\ncontent_LENGTH: 5\r\n\r\n", errDisguised},

	{"CL.CL", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", errTwoLengths},
	{"CL twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n", errTwoLengths},
	{"CL plus", clRequest("+5"), errLength},
	{"CL minus", clRequest("-5"), errLength},
	{"CL minus zero", clRequest("-0"), errLength},
	{"CL list", clRequest("5, 5"), errLength},
	{"CL list without space", clRequest("5,6"), errLength},
	{"CL trailing comma", clRequest("5,"), errLength},
	{"CL with a space", clRequest("5 6"), errLength},
	{"CL hexadecimal", clRequest("0x5"), errLength},
	{"CL exponent", clRequest("1e1"), errLength},
	{"CL underscore", clRequest("1_0"), errLength},
	{"CL fraction", clRequest("5.0"), errLength},
	{"CL empty", clRequest(""), errLength},
	{"CL other digits", clRequest("\u0665"), errLength},
	{"CL vertical tab", clRequest("\x0b5"), errValue},
	{"CL 2^63", clRequest("9223372036854775808"), errLength},
	{"CL 2^64", clRequest("18446744073709551616"), errLength},
	{"CL 2^64+5", clRequest("18446744073709551621"), errLength},
	{"CL long", clRequest(strings.Repeat("9", 400)), errLength},
	{"CL, space before colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n", errSpaceColon},

	{"no Host", "GET / HTTP/1.1\r\n\r\n", ErrNoHost},
	{"no Host beside an absolute target", "GET http://a/ HTTP/1.1\r\n\r\n", ErrNoHost},
	{"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", errTwoHosts},
	{"two equal Hosts", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: a\r\n\r\n", errTwoHosts},
	{"two Hosts in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", errTwoHosts},
	{"two empty Hosts", "GET / HTTP/1.1\r\nHost:\r\nHost:\r\n\r\n", errTwoHosts},
	{"Host folded", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", errFolded},
	{"Host list", hostRequest("a b"), errHost},
	{"Host with a user", hostRequest("user@a"), errHost},
	{"Host with a path", hostRequest("a/b"), errHost},
	{"Host with a query", hostRequest("a?b"), errHost},
	{"Host with a backslash", hostRequest(`a\b`), errHost},
	{"Host escaped", hostRequest("%61"), errHost},
	{"Host not ASCII", hostRequest("b\u00fccher.example"), errHost},
	{"Host two ports", hostRequest("a:80:80"), errHost},
	{"Host bad port", hostRequest("a:8o"), errHost},
	{"Host signed port", hostRequest("a:+80"), errHost},
	{"Host long port", hostRequest("a:000080"), errHost},
	{"Host port only", hostRequest(":80"), errHost},
	{"Host bare IPv6", hostRequest("::1"), errHost},
	{"Host open bracket", hostRequest("[::1"), errHost},
	{"Host text after bracket", hostRequest("[::1]x"), errHost},
	{"Host zone", hostRequest("[fe80::1%25eth0]"), errHost},
	{"bad Host beside an absolute target", "GET http://a/ HTTP/1.1\r\nHost: b b\r\n\r\n", errHost},
	{"user in the target", "GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", errHost},
	{"no host in the target", "GET http:///x HTTP/1.1\r\nHost: b\r\n\r\n", errHost},
	{"bad port in the target", "GET http://a:x/ HTTP/1.1\r\nHost: b\r\n\r\n", errHost},

	{"HTTP/0.9", "GET /\r\n", errTarget},
	{"no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"empty target", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"two spaces before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", errVersion},
	{"tab as separator", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", errMethod},
	{"tab before the version", "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"space after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", errVersion},
	{"request line ends in LF", "GET / HTTP/1.1\nHost: a\r\n\r\n", errVersion},
	{"lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", errVersion},
	{"version without digits", "GET / HTTP/x.y\r\nHost: a\r\n\r\n", errVersion},
	{"version 1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", errVersion},
	{"version 01.1", "GET / HTTP/01.1\r\nHost: a\r\n\r\n", errVersion},
	{"version 1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", errOtherMajor},
	{"version 0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", errOtherMajor},
	{"version 2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", errOtherMajor},
	{"no version, many spaces", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", errVersion},
	{"fragment", "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"target not ASCII", "GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"query not ASCII", "GET /?\xff HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"half an escape", "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"bad escape", "GET /%4g HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"escape before the query", "GET /%?a HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"relative target", "GET x HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"asterisk of GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"asterisk and more", "OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"asterisk and query", "OPTIONS *?x HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"authority of GET", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"path of CONNECT", "CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"CONNECT without port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"CONNECT with an empty port", "CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"CONNECT to IPv6 without port", "CONNECT [::1] HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"CONNECT with a query", "CONNECT a:80?x HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"another scheme", "GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"scheme without slashes", "GET http:a HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"scheme with one slash", "GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"scheme only", "GET :// HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"query only", "GET ?x HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},

	{"no method", " / HTTP/1.1\r\nHost: a\r\n\r\n", errMethod},
	{"colon in the method", "GE:T / HTTP/1.1\r\nHost: a\r\n\r\n", errMethod},
	{"NUL in the method", "GET\x00 / HTTP/1.1\r\nHost: a\r\n\r\n", errMethod},
	{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01", errMethod},
	{"two empty lines", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", errEmptyLine},
	{"empty line of LF", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", errLineEnd},
	{"CR before the request", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", errLineEnd},
	{"preface with fields", "PRI * HTTP/2.0\r\nHost: a\r\n\r\nSM\r\n\r\n", errTarget},
	{"preface after an empty line", "\r\n" + preface, errTarget},

	{"name with a space", fieldRequest("X Y: z"), errSpaceColon},
	{"no colon", fieldRequest("Xyz"), errName},
	{"no name", fieldRequest(": z"), errName},
	{"name in brackets", fieldRequest("[X]: z"), errName},
	{"name not ASCII", fieldRequest("\xfc: z"), errName},
	{"NUL in a value", fieldRequest("X: a\x00b"), errValue},
	{"DEL in a value", fieldRequest("X: a\x7fb"), errValue},
	{"escape in a value", fieldRequest("X: a\x1bb"), errValue},
	{"bare CR in a value", fieldRequest("X: a\rb"), errLineEnd},
	{"bare CR at the end", fieldRequest("X: a\r"), errLineEnd},
	{"bare LF in a value", fieldRequest("X: a\nb: c"), errLineEnd},
	{"folded by a tab", fieldRequest("X: a\r\n\tb"), errFolded},
	{"folded by blanks only", fieldRequest("X: a\r\n "), errFolded},
	{"head ends in LF", "GET / HTTP/1.1\r\nHost: a\r\n\n", errLineEnd},
	{"head ends in CR", "GET / HTTP/1.1\r\nHost: a\r\n\rX", errLineEnd},
	{"two Upgrades", fieldRequest("Upgrade: a\r\nUpgrade: b"), errTwoUpgrades},
	{"unknown expectation", fieldRequest("Expect: 200-ok"), errExpect},
	{"two expectations", fieldRequest("Expect: 100-continue, x"), errExpect},
	{"expectation obfuscated", fieldRequest("Expect: y 100-continue"), errExpect},
	{"trailer announces framing", fieldRequest("Trailer: X, content-length"), errTrailerName},
	{"trailer announces encoding", fieldRequest("Trailer: transfer-encoding"), errTrailerName},
	{"many options", fieldRequest("Connection: " + strings.Repeat("a,", 33)), errOptions},
	{"many fields", fieldRequest(strings.Repeat("a:\r\n", 200) + "b:"), errManyFields},
	{"long method", strings.Repeat("A", 65) + " / HTTP/1.1\r\nHost: a\r\n\r\n", errMethodLong},
	{"long target", "GET /" + strings.Repeat("a", MaxTarget) + " HTTP/1.1\r\nHost: a\r\n\r\n", errTargetLong},
	{"endless target", "GET /" + strings.Repeat("a", MaxTarget), errTargetLong},
	{"large head", fieldRequest("X: " + strings.Repeat("a", MaxHead)), errHeadLarge},
	{"head larger by one", largeRequest(MaxHead + 1), errHeadLarge},
}

func teRequest(value string) string {
	return "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:" + value + "\r\n\r\n"
}

func clRequest(value string) string {
	return "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + value + "\r\n\r\n"
}

func hostRequest(host string) string { return "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n" }

func fieldRequest(field string) string { return "GET / HTTP/1.1\r\nHost: a\r\n" + field + "\r\n\r\n" }

// largeRequest has a head of n bytes.
func largeRequest(n int) string {
	const empty = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n"
	return strings.Replace(empty, "X: ", "X: "+strings.Repeat("a", n-len(empty)), 1)
}

// status is what each refusal must be answered with; the words are for logs, these are the contract.
func status(e *Error) int {
	switch e {
	case errTargetLong:
		return 414
	case errExpect:
		return 417
	case errHeadLarge, errManyFields, errTrailerLarge:
		return 431
	case errMethodLong, errEncoding:
		return 501
	case errOtherMajor, ErrH2Preface:
		return 505
	}
	return 400
}

func TestParseRequestRefuses(t *testing.T) {
	for _, test := range refusals {
		for _, step := range []int{1 + len(test.in)/1000, 7 + len(test.in)/100, len(test.in)} {
			n, err := parseSteps(test.in, step, ParseRequest, new(Head))
			if n != 0 || err != error(test.want) || test.want.Status != status(test.want) {
				t.Errorf("%s, %d bytes a time: %d %v, want %d %v", test.name, step, n, err, status(test.want), test.want)
			}
		}
	}
}

// parseSteps parses what comes in pieces of the given size, each time at another place in memory.
func parseSteps(in string, step int, parse func([]byte, *Head) (int, error), h *Head) (n int, err error) {
	for have := 0; ; {
		n, err = parse([]byte(in[:have]), h)
		if !errors.Is(err, ErrMore) || have == len(in) {
			return n, err
		}
		have = min(have+step, len(in))
	}
}

func TestLimitsAreReached(t *testing.T) {
	for name, in := range map[string]string{
		"fields": fieldRequest(strings.Repeat("a:\r\n", 198) + "b:"),
		"target": "GET /" + strings.Repeat("a", MaxTarget-1) + " HTTP/1.1\r\nHost: a\r\n\r\n",
		"method": strings.Repeat("A", 64) + " / HTTP/1.1\r\nHost: a\r\n\r\n",
		"head":   largeRequest(MaxHead),
		"option": fieldRequest("Connection: " + strings.Repeat("a,", 32) + "close"),
	} {
		if n, err := ParseRequest([]byte(in+"more"), new(Head)); n != len(in) || err != nil {
			t.Errorf("%s: %d of %d, %v", name, n, len(in), err)
		}
	}
}

func TestH2Preface(t *testing.T) {
	for cut := range len(preface) {
		if _, err := ParseRequest([]byte(preface[:cut]), new(Head)); !errors.Is(err, ErrMore) {
			t.Errorf("%q: %v", preface[:cut], err)
		}
	}
	if n, err := ParseRequest([]byte(preface+"\x00"), new(Head)); n != 0 || err != error(ErrH2Preface) {
		t.Errorf("%d %v", n, err)
	}
}

// What comes byte by byte, in a target, a name or a value, is not read from its beginning again and again.
func TestWaitingIsCheap(t *testing.T) {
	for name, in := range map[string]string{
		"target": "GET /" + strings.Repeat("a", 1000) + " HTTP/1.1\r\nHost: a\r\n\r\n",
		"name":   fieldRequest(strings.Repeat("a", 1000) + ":"),
		"value":  fieldRequest("X: " + strings.Repeat("a", 1000)),
	} {
		parses := 0
		var h Head
		for have := range len(in) {
			h.Minor = -1 // any parse sets it
			if n, err := ParseRequest([]byte(in[:have]), &h); n != 0 || !errors.Is(err, ErrMore) {
				t.Fatal(name, n, err)
			}
			if h.Minor >= 0 {
				parses++
			}
		}
		if n, err := ParseRequest([]byte(in), &h); n != len(in) || err != nil || parses > 40 {
			t.Errorf("%s: %d %v after %d parses", name, n, err, parses)
		}
	}
}

func ExampleError() {
	_, err := ParseRequest([]byte("GET / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n"), new(Head))
	var refused *Error
	if errors.As(err, &refused) {
		fmt.Println(refused.Status, refused.Reason)
	}
	// Output: 400 bad length
}
