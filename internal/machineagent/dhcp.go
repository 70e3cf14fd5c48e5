package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/pause"
)

// Times of a client that asks (RFC 2131 section 4.1 wants it to double them).
const (
	firstPause = 250 * time.Millisecond
	lastPause  = 8 * time.Second
	patient    = 2 * time.Second
	leastLease = 10 * time.Second

	firstFailure = time.Second // pause after what went wrong otherwise than by silence
	lastFailure  = time.Minute
)

// client is one of DHCP, on a card that may have no address.
type client struct {
	card
	wire *os.File
	send func(packet []byte) error // to everybody
	id   uint32
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// newClient opens a socket that takes IPv4 packets from the card as they are, whatever they are addressed to.
func newClient(name string) (*client, error) {
	c, err := cardOf(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(htons(unix.ETH_P_IP)))
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", name, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: c.index}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("listen at %s: %w", name, err)
	}
	made := &client{card: c, wire: os.NewFile(uintptr(fd), "dhcp"), id: rand.Uint32()}
	made.send = made.broadcast
	return made, nil
}

// keep gets a lease and renews it at half of its time, for ever; what goes wrong is told and tried again.
func (c *client) keep(ctx context.Context, take func(lease) error, told func(error)) {
	var have lease
	for wait := firstFailure; ctx.Err() == nil; {
		got, err := c.get(ctx, have.address)
		if err == nil {
			err = take(got)
		}
		if err != nil {
			told(err)
			have = lease{}
			_ = pause.For(ctx, wait)
			wait = min(2*wait, lastFailure)
			continue
		}
		have, wait = got, firstFailure
		if got.length == 0 {
			return
		}
		_ = pause.For(ctx, max(got.length, leastLease)/2)
	}
}

// get asks until there is a lease. An address that the machine has is asked for again.
func (c *client) get(ctx context.Context, have netip.Addr) (lease, error) {
	ask := query{kind: discover, mac: c.mac}
	if have.IsValid() {
		ask = query{kind: request, mac: c.mac, have: have}
	}
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		if err := ctx.Err(); err != nil {
			return lease{}, err
		}
		got, err := c.ask(ask, wait)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if ask.requested.IsValid() && wait > patient { // who offered is gone
				ask = query{kind: discover, mac: c.mac}
			}
		case err != nil:
			return lease{}, err
		case got.kind == offer && ask.kind == discover:
			ask = query{kind: request, mac: c.mac, requested: got.lease.address, server: got.lease.from}
			wait = firstPause / 2
		case got.kind == ack && ask.kind == request:
			return got.lease, nil
		case got.kind == nak:
			return lease{}, errors.New("the network took the address back")
		}
	}
}

// ask sends a query and takes the first answer within the time.
func (c *client) ask(q query, within time.Duration) (message, error) {
	c.id++
	q.id = c.id
	if err := c.send(q.packet()); err != nil {
		return message{}, fmt.Errorf("ask for an address: %w", err)
	}
	if err := c.wire.SetReadDeadline(time.Now().Add(within)); err != nil {
		return message{}, err
	}
	buf := make([]byte, 1500)
	for {
		n, err := c.wire.Read(buf)
		if err != nil {
			return message{}, err
		}
		if got, err := parsePacket(buf[:n], c.id, c.mac); err == nil {
			return got, nil
		}
	}
}

// broadcast sends a packet to all of the card's network.
func (c *client) broadcast(packet []byte) error {
	raw, err := c.wire.SyscallConn()
	if err != nil {
		return err
	}
	to := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: c.index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), packet, 0, to)
		return !errors.Is(sent, unix.EAGAIN)
	})
	return errors.Join(err, sent)
}
