package main

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/instance"
)

var mac = []byte{2, 0, 0, 0, 0, 1}

// reply is what a server answers to a packet of a client.
func reply(t testing.TB, asked []byte, kind byte, options ...byte) []byte {
	t.Helper()
	m := append([]byte(nil), asked[ipHeader+udpHeader:ipHeader+udpHeader+fixedPart]...)
	m[0] = 2
	copy(m[16:], []byte{10, 0, 2, 15})
	m = append(append(m, optType, 1, kind), options...)
	p := wrap(netip.Addr{}, append(m, optEnd))
	binary.BigEndian.PutUint16(p[20:], serverPort)
	binary.BigEndian.PutUint16(p[22:], clientPort)
	return p
}

var full = []byte{optMask, 4, 255, 255, 0, 0, optPad, optRouter, 4, 10, 0, 2, 2, optServers, 8, 10, 0, 2, 3, 10, 0, 2, 4,
	optLease, 4, 0, 0, 14, 16, optServer, 4, 10, 0, 2, 1, optDomain, 12, 'e', 'x', 'a', 'm', 'p', 'l', 'e', '.', 'n', 'e', 't', 0}

func TestLeaseOfAnAnswer(t *testing.T) {
	q := query{kind: discover, id: 7, mac: mac}
	got, err := parsePacket(reply(t, q.packet(), offer, full...), 7, mac)
	a := netip.MustParseAddr
	want := message{offer, lease{a("10.0.2.15"), a("255.255.0.0"), a("10.0.2.2"), []netip.Addr{a("10.0.2.3"), a("10.0.2.4")}, "example.net", time.Hour, a("10.0.2.1")}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(message{}, lease{}), cmpopts.EquateComparable(netip.Addr{})); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	short, err := parsePacket(reply(t, q.packet(), ack, optDomain, 3, 'a', '\n', 'b', optLease, 4, 255, 255, 255, 255), 7, mac)
	if err != nil || short.lease.mask != a("255.255.255.0") || short.lease.domain != "" || short.lease.length != 0 {
		t.Errorf("%v: %+v", err, short)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	q := query{kind: discover, id: 7, mac: mac}
	good := reply(t, q.packet(), offer, full...)
	change := func(at int, to byte) []byte {
		p := append([]byte(nil), good...)
		p[at] = to
		return p
	}
	for name, p := range map[string][]byte{
		"nothing": nil, "another protocol": change(9, 6), "another port": change(23, 69), "a fragment": change(6, 0x20), "IPv6": change(0, 0x65),
		"another id": change(ipHeader+udpHeader+7, 8), "another card": change(ipHeader+udpHeader+33, 9), "a request": change(ipHeader+udpHeader, 1),
		"too long a length": change(24, 255), "cut off options": reply(t, q.packet(), offer, optMask, 4, 1), "no address": change(ipHeader+udpHeader+16, 224),
		"cut off": good[:100], "our own": q.packet(),
	} {
		if got, err := parsePacket(p, 7, mac); err == nil {
			t.Errorf("%s is taken for %+v", name, got)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	q := query{kind: discover, id: 7, mac: mac}
	f.Add(reply(f, q.packet(), offer, full...))
	f.Add(reply(f, q.packet(), nak))
	f.Fuzz(func(t *testing.T, p []byte) {
		got, err := parsePacket(p, 7, mac)
		if err == nil && got.kind != nak && (!got.lease.address.Is4() || strings.ContainsAny(got.lease.domain, "\n ")) {
			t.Errorf("%+v", got)
		}
	})
}

// TestClientGetsAndRenews plays the server at the other end of a socket pair.
func TestClientGetsAndRenews(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "client"), os.NewFile(uintptr(fds[1]), "server")
	defer ours.Close()
	defer theirs.Close()
	asked := make(chan [2]byte, 10) // kind, first byte of the address that it has
	go serve(t, theirs, asked)
	c := &client{card: card{mac: mac}, wire: ours, send: func(p []byte) error { _, err := ours.Write(p); return err }}
	first, err := c.get(t.Context(), netip.Addr{})
	if err != nil || first.address != netip.MustParseAddr("10.0.2.15") {
		t.Fatalf("%v: %+v", err, first)
	}
	if _, err := c.get(t.Context(), first.address); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][2]byte{{discover, 0}, {discover, 0}, {request, 0}, {request, 10}} { // the first one is lost
		if got := <-asked; got != want {
			t.Errorf("question %d is %v, want %v", i, got, want)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.get(over, netip.Addr{}); !errors.Is(err, context.Canceled) {
		t.Errorf("it goes on: %v", err)
	}
}

func serve(t *testing.T, wire *os.File, asked chan<- [2]byte) {
	buf := make([]byte, 1500)
	for n := 0; ; n++ {
		size, err := wire.Read(buf)
		if err != nil {
			return
		}
		p := buf[:size]
		m := p[ipHeader+udpHeader:]
		kind := m[fixedPart+2]
		asked <- [2]byte{kind, m[12]}
		if n == 0 {
			continue
		}
		if _, err := wire.Write(reply(t, p, map[byte]byte{discover: offer, request: ack}[kind], full...)); err != nil {
			return
		}
	}
}

func TestEnvironmentFile(t *testing.T) {
	got := environmentText(map[string]string{"B": "two\nlines", "A": `q"$x\` + "`"})
	want := "A=\"q\\\"\\$x\\\\\\`\"\nB=\"two\nlines\"\n"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestEnvironmentOfServices(t *testing.T) {
	c := config{Hostname: "shop", Env: []string{"A=image", "PORT=80"}}
	got := environment(c, instance.Settings{Environment: map[string]string{"A": "own"}})
	if diff := cmp.Diff([]string{"PORT=80", "A=own", "HOSTNAME=shop"}, got); diff != "" {
		t.Error(diff)
	}
	if got := environment(c, instance.Settings{Hostname: "shop-7"}); got[len(got)-1] != "HOSTNAME=shop-7" {
		t.Errorf("%q", got)
	}
}

func TestFilesOfSettings(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a/b/key")
	if err := writeFile(instance.File{Path: name, Data: []byte("secret"), Mode: 0o440, Owner: "0:0"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	info, errStat := os.Stat(name)
	if err != nil || errStat != nil || string(data) != "secret" || info.Mode().Perm() != 0o440 {
		t.Errorf("%q %v %v %v", data, info.Mode(), err, errStat)
	}
	if err := writeFile(instance.File{Path: name, Owner: "nobody-of-this-name"}); err == nil {
		t.Error("an owner that is not there is taken")
	}
	if _, err := os.Stat(name + ".new"); err == nil {
		t.Error("it leaves a file behind")
	}
}

func TestPowerButton(t *testing.T) {
	event := make([]byte, eventSize)
	event[16], event[18], event[20] = eventKey, keyPower, 1
	if !isPower(event) {
		t.Error("the power button is not heard")
	}
	event[20] = 0
	if isPower(event) {
		t.Error("its release is")
	}
}
