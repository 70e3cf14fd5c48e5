package console

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator"
)

// exec runs a command in a node and carries its streams in frames over the upgraded connection.
func (s *Server) exec(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Upgrade") != api.ExecProtocol {
		return fault.New(fault.Invalid, "exec: the request must be upgraded to %s", api.ExecProtocol)
	}
	var x api.Exec
	if err := readJSON(w, r, &x); err != nil {
		return err
	}
	if len(x.Command) == 0 {
		return fault.New(fault.Invalid, "exec: no command given")
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("exec: take over the connection: %w", err)
	}
	defer conn.Close()
	head := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + api.ExecProtocol + "\r\n\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		return nil // the client is gone
	}
	s.runExec(r, conn, buf.Reader, x)
	return nil
}

func (s *Server) runExec(r *http.Request, conn net.Conn, in *bufio.Reader, x api.Exec) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := api.NewFrameConn(conn)
	stdin, stdinW := io.Pipe()
	defer stdin.Close()
	resize := make(chan orchestrator.Window, 1)
	go func() {
		defer cancel() // a client that goes takes its command along
		receive(ctx, in, stdinW, resize)
	}()
	spec := orchestrator.ExecSpec{
		Command: x.Command, Env: x.Env, TTY: x.TTY, Window: orchestrator.Window(x.Window), Resize: resize,
		Stdout: api.FrameWriter{W: out, Kind: api.FrameStdout}, Stderr: api.FrameWriter{W: out, Kind: api.FrameStderr},
	}
	if x.Stdin {
		spec.Stdin = stdin
	}
	code, err := s.Orchestrator.Exec(ctx, keyOf(r), r.PathValue("node"), spec)
	payload, _ := json.Marshal(api.Exit{Code: code, Error: api.ErrorOf(err)})
	_ = api.WriteFrame(out, api.FrameExit, payload)
}

// inputAhead is how many frames of input are taken before the command reads them: a command that reads none must not
// keep us from seeing that its client went.
const inputAhead = 64

// receive hands on what the client sends until the connection ends.
func receive(ctx context.Context, in io.Reader, stdin *io.PipeWriter, resize chan orchestrator.Window) {
	input := make(chan []byte, inputAhead)
	defer close(input)
	go feed(stdin, input)
	for {
		kind, payload, err := api.ReadFrame(in)
		if err != nil {
			return
		}
		switch kind {
		case api.FrameStdin:
			select {
			case input <- payload:
			case <-ctx.Done():
				return
			}
		case api.FrameResize:
			var size api.Window
			if json.Unmarshal(payload, &size) == nil {
				offer(ctx, resize, orchestrator.Window(size))
			}
		}
	}
}

// feed writes input until an empty frame or the end of the connection ends it.
func feed(stdin *io.PipeWriter, input <-chan []byte) {
	defer stdin.Close()
	for payload := range input {
		if len(payload) == 0 {
			return
		}
		_, _ = stdin.Write(payload) // a command that reads no more input is no error
	}
}

// offer replaces a size that was not taken yet: only the newest counts.
func offer(ctx context.Context, resize chan orchestrator.Window, size orchestrator.Window) {
	for {
		select {
		case resize <- size:
			return
		case <-ctx.Done():
			return
		default:
		}
		select {
		case <-resize:
		default:
		}
	}
}
