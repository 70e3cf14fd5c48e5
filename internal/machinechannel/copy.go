package machinechannel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"golang.org/x/crypto/ssh"
)

// ErrTooOld is of a machine whose image was made before machines knew what is asked.
var ErrTooOld = errors.New("the machine does not know how")

// maxComplaint is how much of what a machine says of an error is passed on.
const maxComplaint = 4 << 10

// CopyOut reads the file or folder at a path of the machine as a tar stream, which the caller closes. Nothing there is fs.ErrNotExist. The end
// of the context ends it.
func (c *Client) CopyOut(ctx context.Context, path string) (io.ReadCloser, error) {
	r, err := c.copyOut(ctx, path)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("read %s of the machine: %w", path, err)
	}
	return r, nil
}

func (c *Client) copyOut(ctx context.Context, path string) (*copied, error) {
	l := within(ctx, c.ssh)
	ch, asked, err := c.ssh.OpenChannel("session", nil)
	if err != nil {
		l.over()
		return nil, err
	}
	l.of(ch)
	r := &copied{channel: ch, in: bufio.NewReader(ch), limit: l}
	r.over.Go(func() { r.listen(asked) })
	r.over.Go(func() { r.hear(ch.Stderr()) })
	ok, err := ch.SendRequest(copyRequest, true, []byte(path))
	if err == nil && !ok {
		err = ErrTooOld
	}
	if err == nil {
		if _, err = r.in.Peek(1); errors.Is(err, io.EOF) { // an archive is never empty
			err = r.end()
		}
	}
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

// copied is an archive on its way.
type copied struct {
	channel   ssh.Channel
	in        *bufio.Reader
	limit     *limit
	over      sync.WaitGroup
	ended     bool // and code, complaint: once over is
	code      uint32
	complaint []byte
}

// listen waits for the end that the machine tells.
func (r *copied) listen(asked <-chan *ssh.Request) {
	for a := range asked {
		if p, ok := parse[exitPayload](a.Payload); ok && a.Type == "exit-status" {
			r.ended, r.code = true, p.Code
		}
		if a.WantReply {
			_ = a.Reply(false, nil)
		}
	}
}

// hear keeps the beginning of what the machine complains of.
func (r *copied) hear(from io.Reader) {
	r.complaint, _ = io.ReadAll(io.LimitReader(from, maxComplaint))
	_, _ = io.Copy(io.Discard, from)
}

// Read reads on; an archive that is not whole ends in an error.
func (r *copied) Read(b []byte) (int, error) {
	n, err := r.in.Read(b)
	if errors.Is(err, io.EOF) {
		if end := r.end(); end != nil {
			err = end
		}
	}
	return n, err
}

// end says how it ended; nil is well.
func (r *copied) end() error {
	r.over.Wait()
	r.limit.over()
	switch {
	case !r.ended:
		return io.ErrUnexpectedEOF
	case r.code == copyAbsent:
		return fmt.Errorf("%s: %w", r.complaint, fs.ErrNotExist)
	case r.code != 0:
		return errors.New(string(r.complaint))
	}
	return nil
}

// Close ends what is under way.
func (r *copied) Close() error {
	r.limit.over()
	if err := r.channel.Close(); err != nil && !errors.Is(err, io.EOF) { // the machine has closed it
		return err
	}
	return nil
}
