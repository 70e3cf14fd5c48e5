package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/unixsock"
)

// monitor is a connection to QEMU's control socket (QEMU, docs/interop/qmp-spec.txt): JSON objects, each on a line. QEMU
// speaks with one at a time; another one waits.
type monitor struct {
	conn net.Conn
	in   *bufio.Reader
	stop func() bool
}

// message is anything that QEMU says.
type message struct {
	QMP    json.RawMessage
	Return json.RawMessage
	Error  *struct{ Class, Desc string }
	Event  string
	Data   struct {
		Guest  bool
		Reason string
		Action string // what QEMU did about an error of a disk
	}
}

// maxMessage bounds a line of QEMU's.
const maxMessage = 1 << 20

// dialMonitor connects and leaves the state in which QEMU only negotiates. The context bounds the whole conversation.
func dialMonitor(ctx context.Context, path string) (*monitor, error) {
	conn, err := unixsock.Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	m := &monitor{conn: conn, in: bufio.NewReader(conn)}
	m.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	greeting, err := m.next()
	if err == nil && greeting.QMP == nil {
		err = errors.New("no greeting")
	}
	if err == nil {
		_, err = m.do("qmp_capabilities")
	}
	if err != nil {
		m.close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("speak with QEMU: %w", err)
	}
	return m, nil
}

func (m *monitor) close() {
	m.stop()
	_ = m.conn.Close()
}

func (m *monitor) next() (message, error) {
	line, err := readLine(m.in, maxMessage)
	if err != nil {
		return message{}, err
	}
	return parseMessage(line)
}

func parseMessage(line []byte) (message, error) {
	var got message
	if err := json.Unmarshal(line, &got); err != nil {
		return message{}, fault.New(fault.Failed, "QEMU says what is no message: %w", err)
	}
	return got, nil
}

// readLine reads a line of at most limit bytes.
func readLine(in *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		piece, err := in.ReadSlice('\n')
		line = append(line, piece...)
		if len(line) > limit {
			return nil, fmt.Errorf("a line of more than %d bytes", limit)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) && len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return line, err
		}
	}
}

// do runs a command without arguments and gives what it returns.
func (m *monitor) do(command string) (json.RawMessage, error) {
	if err := json.NewEncoder(m.conn).Encode(map[string]string{"execute": command}); err != nil {
		return nil, err
	}
	for {
		got, err := m.next()
		switch {
		case err != nil:
			return nil, err
		case got.Error != nil:
			return nil, fmt.Errorf("%s: %s", command, got.Error.Desc)
		case got.Return != nil:
			return got.Return, nil
		}
	}
}

// status is QEMU's run state, such as running or shutdown.
func (m *monitor) status() (string, error) {
	answer, err := m.do("query-status")
	if err != nil {
		return "", err
	}
	var said struct{ Status string }
	return said.Status, json.Unmarshal(answer, &said)
}
