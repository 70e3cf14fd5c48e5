package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/unixsock"
)

// Streams connect a command in a node to the caller. Stdin and Resize may be nil.
type Streams struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Resize <-chan Window
}

// Exec runs a command in a node and returns its exit code. The end of ctx ends the command.
func (c *Client) Exec(ctx context.Context, app App, node string, x Exec, s Streams) (int, error) {
	x.Stdin = s.Stdin != nil
	conn, r, err := c.upgrade(ctx, app.path("nodes", node, "exec"), x)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	done := make(chan struct{})
	defer close(done)
	w := NewFrameConn(conn)
	if s.Stdin != nil {
		go sendStdin(w, s.Stdin)
	}
	go sendResizes(w, s.Resize, done)
	code, err := receive(r, s)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return code, err
}

// upgrade opens a connection and turns it into one of frames.
func (c *Client) upgrade(ctx context.Context, path string, x Exec) (net.Conn, *bufio.Reader, error) {
	body, err := json.Marshal(x)
	if err != nil {
		return nil, nil, fmt.Errorf("exec: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fmt.Errorf("exec: %w", err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", ExecProtocol)
	conn, err := unixsock.Dial(ctx, c.Socket)
	if err != nil {
		return nil, nil, c.broken(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	r := bufio.NewReader(conn)
	resp, err := roundTrip(conn, r, req)
	if err != nil {
		_ = conn.Close()
		return nil, nil, c.broken(ctx, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer conn.Close()
		return nil, nil, failure(resp)
	}
	return conn, r, nil
}

func roundTrip(conn net.Conn, r *bufio.Reader, req *http.Request) (*http.Response, error) {
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	return http.ReadResponse(r, req)
}

func sendStdin(w io.Writer, stdin io.Reader) {
	if _, err := io.Copy(FrameWriter{W: w, Kind: FrameStdin}, stdin); err == nil {
		_ = WriteFrame(w, FrameStdin, nil)
	}
}

func sendResizes(w io.Writer, sizes <-chan Window, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			b, _ := json.Marshal(size)
			_ = WriteFrame(w, FrameResize, b)
		}
	}
}

// receive hands out output until the command's exit comes.
func receive(r io.Reader, s Streams) (int, error) {
	for {
		kind, payload, err := ReadFrame(r)
		if err != nil {
			return 0, fault.New(fault.Unavailable, "exec: connection to the agent broke: %w", err)
		}
		switch kind {
		case FrameStdout:
			_, err = s.Stdout.Write(payload)
		case FrameStderr:
			_, err = s.Stderr.Write(payload)
		case FrameExit:
			var x Exit
			if err := json.Unmarshal(payload, &x); err != nil {
				return 0, fmt.Errorf("exec: read exit: %w", err)
			}
			return x.Code, x.Error.Fault()
		}
		if err != nil {
			return 0, fmt.Errorf("exec: write output: %w", err)
		}
	}
}
