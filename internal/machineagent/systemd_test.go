package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

// What journalctl says becomes lines, also what is no UTF-8, and what is no entry is nobody's.
func TestJournalIsKeptAsLines(t *testing.T) {
	var log bytes.Buffer
	j := &journal{out: &output{console: io.Discard, log: &log, now: time.Now}}
	j.copy(strings.NewReader(`{"__CURSOR":"a","__REALTIME_TIMESTAMP":"1700000000123456","MESSAGE":"one\nand its second line"}
not an entry
{"__REALTIME_TIMESTAMP":"1700000001000000","MESSAGE":[116,119,111,255]}
{"__REALTIME_TIMESTAMP":"1700000002000000","MESSAGE":null}
{"__CURSOR":"d","__REALTIME_TIMESTAMP":"1700000003000000","MESSAGE":"last"}`))
	want := "2023-11-14T22:13:20.123456Z out one\n2023-11-14T22:13:20.123456Z out and its second line\n2023-11-14T22:13:21Z out two\xff\n2023-11-14T22:13:22Z out \n2023-11-14T22:13:23Z out last\n"
	if got := log.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if j.cursor != "d" {
		t.Errorf("it would go on behind %q", j.cursor)
	}
}

func TestNameServersOfNetworkd(t *testing.T) {
	l := serversOf("# This is private data.\nOPER_STATE=routable\nDNS=10.0.2.3 fe80::1%2 nonsense\nDOMAINS=example.internal\n")
	if len(l.servers) != 2 || l.servers[0].String() != "10.0.2.3" || l.domain != "example.internal" {
		t.Errorf("%+v", l)
	}
	if l := serversOf("OPER_STATE=off\n"); len(l.servers) != 0 {
		t.Errorf("%+v", l)
	}
}
