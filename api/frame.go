package api

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// ExecProtocol is what an exec connection is upgraded to. After the upgrade both sides send frames: one byte kind,
// four bytes length (big endian), and so many bytes of payload.
const ExecProtocol = "release-exec/1"

// Kind is what a frame carries.
type Kind byte

const (
	FrameStdin  Kind = 0 // to the command; empty: end of its input
	FrameStdout Kind = 1
	FrameStderr Kind = 2
	FrameResize Kind = 3 // Window as JSON
	FrameExit   Kind = 4 // Exit as JSON, the last frame
)

// maxFrame bounds what a peer can make us hold.
const maxFrame = 1 << 20

// Exit ends an exec: the command's exit code, or why it did not run.
type Exit struct {
	Code  int    `json:"code"`
	Error *Error `json:"error,omitempty"`
}

// WriteFrame sends one frame in a single write.
func WriteFrame(w io.Writer, kind Kind, payload []byte) error {
	if len(payload) > maxFrame {
		return fmt.Errorf("write frame: %d bytes are more than %d", len(payload), maxFrame)
	}
	b := make([]byte, 5, 5+len(payload))
	b[0] = byte(kind)
	binary.BigEndian.PutUint32(b[1:], uint32(len(payload)))
	_, err := w.Write(append(b, payload...))
	return err
}

// ReadFrame receives one frame. io.EOF is a connection that ended between frames.
func ReadFrame(r io.Reader) (Kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("read frame: %d bytes are more than %d", n, maxFrame)
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, fmt.Errorf("read frame: %w", err)
	}
	return Kind(head[0]), payload, nil
}

// FrameConn is the sending side of a connection: frames of several goroutines stay whole.
type FrameConn struct {
	mu sync.Mutex
	w  io.Writer
}

// NewFrameConn is what all who send frames on w must share.
func NewFrameConn(w io.Writer) *FrameConn { return &FrameConn{w: w} }

// Write sends p, which is one frame.
func (c *FrameConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.w.Write(p)
}

// FrameWriter is a writer whose writes become frames of one kind. All writers of a connection share one FrameConn as W.
type FrameWriter struct {
	W    io.Writer
	Kind Kind
}

// Write sends p in frames of at most 32 KiB.
func (f FrameWriter) Write(p []byte) (int, error) {
	const chunk = 32 << 10
	for sent := 0; sent < len(p); {
		n := min(chunk, len(p)-sent)
		if err := WriteFrame(f.W, f.Kind, p[sent:sent+n]); err != nil {
			return sent, err
		}
		sent += n
	}
	return len(p), nil
}
