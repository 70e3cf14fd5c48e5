package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

// compareRequest holds a request against net/http: what we accept it must accept, and as the same; what we wait for
// it must wait for.
func compareRequest(t *testing.T, in string, m *message) {
	if refused(m.headErr) {
		return
	}
	r := bufio.NewReaderSize(strings.NewReader(strings.TrimPrefix(in, "\r\n")), 2*MaxHead)
	req, err := http.ReadRequest(r)
	if err == nil && req.ProtoMajor == 2 && m.headErr == ErrMore {
		return // the first half of HTTP/2's preface is a request to it
	}
	if (err == nil) != (m.headErr == nil) {
		t.Fatalf("%q\nwe: %v\nnet/http: %v", in, m, err)
	}
	if err != nil {
		return
	}
	h := &m.head
	switch {
	case req.Method != string(h.Method), req.RequestURI != string(h.Target), req.ProtoMinor != h.Minor, req.ContentLength != h.Length,
		req.Host != string(h.Host), req.Close != h.Close:
		t.Fatalf("%q\nwe: %v\nnet/http: %+v", in, m, req)
	}
	compareURL(t, req.URL, h)
	compareMeaning(t, req, h)
	compareFields(t, req.Header, h)
	compareBody(t, in, m, req.Body, r)
	if m.bodyErr == nil {
		compareTrailer(t, req.Trailer, m)
	}
}

func compareURL(t *testing.T, u *url.URL, h *Head) {
	path, err := url.PathUnescape(string(h.Path))
	same := path == u.Path && string(h.Query) == u.RawQuery && u.ForceQuery == (h.Query != nil && len(h.Query) == 0)
	switch {
	case h.Form == Authority:
		same = u.Path == "" && h.Path == nil
	case h.Form == Absolute && u.Path == "":
		same = path == "/" || path == "*" && string(h.Method) == "OPTIONS"
	}
	if err != nil || !same || u.User != nil || u.Fragment != "" {
		t.Fatalf("path %q, query %q; net/url: %+v", h.Path, h.Query, u)
	}
}

// compareMeaning is for what net/http's server makes of a request besides.
func compareMeaning(t *testing.T, req *http.Request, h *Head) {
	hosts := 0
	for _, f := range h.Fields {
		if f.Known == Host {
			hosts++
		}
		if !httpguts.ValidHeaderFieldName(string(f.Name)) || !httpguts.ValidHeaderFieldValue(string(f.Value)) ||
			f.Known == Host && !httpguts.ValidHostHeader(string(f.Value)) {
			t.Fatalf("net/http's server refuses %q: %q", f.Name, f.Value)
		}
	}
	if hosts > 1 || hosts == 0 && h.Minor > 0 {
		t.Fatalf("%d Hosts", hosts)
	}
	connection := req.Header["Connection"]
	expects := httpguts.HeaderValuesContainsToken(req.Header["Expect"], "100-continue") && h.Minor > 0 && req.ContentLength != 0
	upgrade := ""
	if httpguts.HeaderValuesContainsToken(connection, "upgrade") && h.Minor > 0 {
		upgrade = req.Header.Get("Upgrade")
	}
	if expects != h.Expect || upgrade != string(h.Upgrade) {
		t.Fatalf("%s; net/http: expect %v upgrade %q", show(h), expects, upgrade)
	}
	for i, f := range h.Fields {
		if f.Known == Other && h.Hop(i) != httpguts.HeaderValuesContainsToken(connection, string(f.Name)) {
			t.Fatalf("%s: %v; Connection: %q", f.Name, h.Hop(i), connection)
		}
	}
}

// compareFields compares but for those that net/http takes out or adds.
func compareFields(t *testing.T, theirs http.Header, h *Head) {
	ours := http.Header{}
	for _, f := range h.Fields {
		ours.Add(string(f.Name), string(f.Value))
	}
	theirs = maps.Clone(theirs)
	for _, header := range []http.Header{ours, theirs} {
		header.Del("Host")
		header.Del("Transfer-Encoding")
		header.Del("Trailer")
		if header.Get("Pragma") == "no-cache" {
			header.Del("Cache-Control")
		}
		if h.Status != 0 {
			header.Del("Connection")
		}
	}
	if !reflect.DeepEqual(ours, theirs) {
		t.Fatalf("fields %q\nnet/http: %q", ours, theirs)
	}
}

// compareBody compares the body and what follows it.
func compareBody(t *testing.T, in string, m *message, body io.Reader, r io.Reader) {
	if refused(m.bodyErr) {
		return
	}
	theirs, err := io.ReadAll(body)
	if (err == nil) != (m.bodyErr == nil) {
		t.Fatalf("%q\nwe: %v\nnet/http: %q %v", in, m, theirs, err)
	}
	if err != nil {
		return
	}
	rest, _ := io.ReadAll(r)
	if m.body != string(theirs) || in[m.used:] != string(rest) {
		t.Fatalf("%q\nwe: %v\nnet/http: %q then %q", in, m, theirs, rest)
	}
}

// compareTrailer wants ours to be a part of theirs.
func compareTrailer(t *testing.T, theirs http.Header, m *message) {
	for line := range strings.Lines(m.trailer) {
		var name, value string
		if _, err := fmt.Sscanf(line, "%q %q", &name, &value); err != nil {
			t.Fatal(err)
		}
		found := false
		for _, v := range theirs.Values(name) {
			found = found || v == value
		}
		if !found {
			t.Fatalf("trailer %q %q; net/http: %q", name, value, theirs)
		}
	}
}

func compareResponse(t *testing.T, in, method string, m *message) {
	if refused(m.headErr) {
		return
	}
	r := bufio.NewReaderSize(strings.NewReader(in), 2*MaxHead)
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	if (err == nil) != (m.headErr == nil) {
		t.Fatalf("%q\nwe: %v\nnet/http: %v", in, m, err)
	}
	if err != nil {
		return
	}
	h := &m.head
	reason := strings.TrimLeft(res.Status, " ")
	if len(reason) > 3 {
		reason = strings.TrimPrefix(reason[3:], " ")
	} else {
		reason = ""
	}
	if res.StatusCode != h.Status || reason != string(h.Reason) || res.ProtoMinor != h.Minor || res.Close != h.Close {
		t.Fatalf("%q\nwe: %v\nnet/http: %+v", in, m, res)
	}
	compareFields(t, res.Header, h)
	compareBody(t, in, m, res.Body, r)
	if m.bodyErr == nil {
		compareTrailer(t, res.Trailer, m)
	}
}

// rewriteRequest writes what was read and reads it again.
func rewriteRequest(t *testing.T, m *message) {
	h := &m.head
	b := appendRequestLine(nil, h.Method, h.AppendTarget(nil))
	for i, f := range h.Fields {
		if f.Known != Host && !h.Hop(i) {
			b = AppendField(b, f.Name, f.Value)
		}
	}
	b = AppendField(b, "Host", h.Host)
	if h.Length == Chunked {
		b = AppendField(b, "transfer-encoding", "chunked")
	}
	b = AppendHeadEnd(b)
	var again Head
	n, err := ParseRequest(b, &again)
	if len(b) > MaxHead || err == error(errManyFields) {
		return
	}
	if n != len(b) || err != nil || again.Length != h.Length || !bytes.Equal(again.Host, h.Host) || !bytes.Equal(again.Path, h.Path) ||
		!bytes.Equal(again.Query, h.Query) || !bytes.Equal(again.Method, h.Method) {
		t.Fatalf("%q becomes %q: %d %v\n%s", h.Target, b, n, err, show(&again))
	}
}
