package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Whose turn it is. A successor that could serve says turnByte and accepts nothing: its predecessor may give it up, and then kills nobody
// that has users. With goByte the predecessor commits itself. It goes on accepting until the successor says readyByte, however long that
// takes: whichever of the two dies meanwhile, the other one serves. Connections wait at the sockets, which both have, while neither takes them.
//
// Older programs know readyByte only: a successor that is not told of turns (inheritance.Turns) says it at once.
const (
	turnByte  = 'T'
	goByte    = 'G'
	readyByte = 'R'

	readyPatience = 10 * time.Second // for a successor that has no users yet
)

// await tells the predecessor that this process could serve, and returns when it is this one's turn: when the predecessor says so, or
// is dead. One that gives this process up kills it before it closes the socket.
func (in *inheritance) await() {
	if !in.Turns {
		return
	}
	b := []byte{turnByte}
	if _, err := in.peer.Write(b); err == nil {
		_, _ = in.peer.Read(b)
	}
}

// ready tells the predecessor that this process accepts. A dead one need not know.
func (in *inheritance) ready() { _, _ = in.peer.Write([]byte{readyByte}) }

// awaitReady gives the successor its turn when it could serve, and waits until it does.
func awaitReady(ctx context.Context, conn net.Conn, ended <-chan error) error {
	said, err := hear(ctx, conn, ended, readyPatience)
	if err == nil && said == turnByte {
		if _, err = conn.Write([]byte{goByte}); err == nil {
			// It may have users from now on: neither time nor whoever asked for it and leaves ends it. Both processes serve meanwhile.
			said, err = hear(context.WithoutCancel(ctx), conn, ended, 0)
		}
	}
	if err == nil && said != readyByte {
		err = errors.New("it said something else than that it serves")
	}
	if err != nil {
		return fmt.Errorf("wait for the new process to serve: %w", err)
	}
	return nil
}

// hear waits for a byte of the successor, for as long as the patience; 0 is for as long as it lives.
func hear(ctx context.Context, conn net.Conn, ended <-chan error, patience time.Duration) (said byte, err error) {
	b := make([]byte, 1)
	got := make(chan error, 1)
	go func() {
		if patience > 0 {
			_ = conn.SetReadDeadline(time.Now().Add(patience))
		}
		_, err := conn.Read(b)
		_ = conn.SetReadDeadline(time.Time{})
		got <- err
	}()
	select {
	case err := <-got:
		return b[0], err
	case err := <-ended:
		return 0, fmt.Errorf("it has ended: %v", err)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
