package dockerapi

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// longestLine bounds a line put together again from the engine's pieces of 16 KiB; a longer one is cut in two.
const longestLine = 1 << 20

// Lines reads an engine's stream of output with times, which it closes, as the lines of a fleet.Logger.
func Lines(raw io.ReadCloser) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		err := demultiplex(w, raw)
		raw.Close()
		w.CloseWithError(err)
	}()
	return &logReader{PipeReader: r, raw: raw}
}

// logReader frees the connection to the engine too.
type logReader struct {
	*io.PipeReader
	raw io.Closer
}

func (l *logReader) Close() error {
	l.raw.Close() //nolint:errcheck // closing a response that was read says nothing
	return l.PipeReader.Close()
}

// Frames of the engine's stream: one byte stream, three zero, four length (big endian), then the payload: a time,
// a space, and a piece of the output that ends in a newline unless the line goes on in the stream's next frame.
const (
	frameHeader = 8
	frameStdout = 1
	frameStderr = 2
	frameError  = 3
	frameMost   = 1 << 20
)

// line is one that is still being put together.
type line struct {
	at   []byte
	text []byte
}

// demultiplex turns the engine's stream into lines "time out|err text\n".
func demultiplex(w io.Writer, raw io.Reader) error {
	in, out := bufio.NewReader(raw), bufio.NewWriter(w)
	open := map[byte]*line{}
	for {
		kind, payload, err := readFrame(in)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if kind == frameError {
			return fmt.Errorf("read log: the engine says: %s", bytes.TrimSpace(payload))
		}
		if err := addPiece(out, open, kind, payload); err != nil {
			return err
		}
		if in.Buffered() == 0 { // a reader that follows wants what is there
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	for _, kind := range []byte{frameStdout, frameStderr} {
		if l := open[kind]; l != nil {
			if err := l.write(out, kind); err != nil {
				return err
			}
		}
	}
	return out.Flush()
}

func readFrame(in io.Reader) (kind byte, payload []byte, err error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		if err == io.ErrUnexpectedEOF {
			return 0, nil, fmt.Errorf("read log: the stream ends within a frame: %w", err)
		}
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[4:])
	if head[0] > frameError || size > frameMost {
		return 0, nil, fmt.Errorf("read log: not a frame of the engine's: %x", head)
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(in, payload); err != nil {
		return 0, nil, fmt.Errorf("read log: the stream ends within a frame: %w", io.ErrUnexpectedEOF)
	}
	return head[0], payload, nil
}

// addPiece adds a frame to its stream's open line and writes the line when it is whole.
func addPiece(out io.Writer, open map[byte]*line, kind byte, payload []byte) error {
	at, text, ok := bytes.Cut(payload, []byte(" "))
	if !ok {
		at, text = nil, payload
	}
	l := open[kind]
	if l == nil {
		l = &line{at: at}
		open[kind] = l
	}
	l.text = append(l.text, text...)
	if !bytes.HasSuffix(text, []byte("\n")) && len(l.text) < longestLine {
		return nil
	}
	delete(open, kind)
	return l.write(out, kind)
}

func (l *line) write(out io.Writer, kind byte) error {
	at := string(l.at)
	if t, err := time.Parse(time.RFC3339Nano, at); err == nil {
		at = t.UTC().Format(time.RFC3339Nano)
	}
	name := "out"
	if kind == frameStderr {
		name = "err"
	}
	_, err := fmt.Fprintf(out, "%s %s %s\n", at, name, bytes.TrimSuffix(l.text, []byte("\n")))
	return err
}
