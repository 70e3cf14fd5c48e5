package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/bootandshoot/release/fleet"
)

// ReadFrom reads what a function writes, which must end when its writer fails. The end of the context is that of the reader.
func ReadFrom(ctx context.Context, write func(io.Writer) error) io.ReadCloser {
	out, in := io.Pipe()
	go func() { in.CloseWithError(write(in)) }()
	stop := context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
	return &logReader{out, stop}
}

type logReader struct {
	*io.PipeReader
	stop func() bool
}

func (r *logReader) Close() error {
	r.stop()
	return r.PipeReader.Close()
}

// SelectLines copies the lines that the options ask for.
func SelectLines(r *bufio.Reader, opts fleet.LogOptions, w io.Writer) error {
	var tail [][]byte
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 && !before(line, opts.Since) {
			if opts.Tail > 0 {
				if tail = append(tail, line); len(tail) > opts.Tail {
					tail = tail[1:]
				}
			} else if _, err := w.Write(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
	}
	for _, line := range tail {
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// before says whether a line is older than t. One that cannot be read is not.
func before(line []byte, t time.Time) bool {
	if t.IsZero() {
		return false
	}
	stamp, _, _ := bytes.Cut(line, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	return err == nil && at.Before(t)
}

// EndOf reads the last whole lines of a file, up to limit bytes.
func EndOf(f *os.File, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	start := max(0, info.Size()-limit)
	text, err := io.ReadAll(io.NewSectionReader(f, start, info.Size()-start))
	if start > 0 {
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return text, err
}
