package routertest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// raw is a plain connection whose end is a loss unless an answer has said so.
type raw struct {
	net.Conn
	r *bufio.Reader
}

func (m *Mix) raw() (*raw, error) {
	c, err := net.Dial("tcp", m.Plain)
	if err != nil {
		return nil, err
	}
	return &raw{c, bufio.NewReader(c)}, nil
}

// ask notes a request that is about to be sent.
func (c *raw) ask(t *tally) {
	t.ask(true)
	c.hurry()
}

// hurry gives the other end another minute.
func (c *raw) hurry() { _ = c.SetDeadline(time.Now().Add(time.Minute)) }

// answer reads one; last says that the connection closes after it.
func (c *raw) answer(t *tally) (last bool, err error) {
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return true, err
	}
	t.begun(res.Header.Get("X-Node"))
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return true, err
	}
	if res.StatusCode != 200 {
		return true, badStatus{res.StatusCode, string(b)}
	}
	t.done()
	return res.Close, nil
}

const getRoot = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func (m *Mix) strict(ctx context.Context, t *tally) error {
	c, err := m.raw()
	if err != nil {
		return err
	}
	defer c.Close()
	for ctx.Err() == nil {
		c.ask(t)
		if _, err := io.WriteString(c, getRoot); err != nil {
			return err
		}
		if last, err := c.answer(t); last || err != nil {
			return err
		}
	}
	return nil
}

// pipelined has three requests under way; its connection may not close as long as there is one.
func (m *Mix) pipelined(ctx context.Context, t *tally) error {
	c, err := m.raw()
	if err != nil {
		return err
	}
	defer c.Close()
	for waiting := 0; ctx.Err() == nil || waiting > 0; waiting-- {
		for ; waiting < 3 && ctx.Err() == nil; waiting++ {
			c.ask(t)
			if _, err := io.WriteString(c, getRoot); err != nil {
				return err
			}
		}
		if waiting == 0 {
			return nil
		}
		last, err := c.answer(t)
		switch {
		case err != nil:
			return fmt.Errorf("%d answers open: %w", waiting, err)
		case last:
			return fmt.Errorf("closed with %d answers open: %w", waiting-1, io.ErrUnexpectedEOF)
		}
	}
	return nil
}

func (m *Mix) old(ctx context.Context, t *tally) error {
	for ctx.Err() == nil {
		c, err := m.raw()
		if err != nil {
			return err
		}
		c.ask(t)
		_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
		_, err = c.answer(t)
		_ = c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// sockets talk until they are told that the server goes away.
func (m *Mix) sockets(ctx context.Context, t *tally) error {
	c, err := m.raw()
	if err != nil {
		return err
	}
	defer c.Close()
	c.ask(t)
	_, _ = io.WriteString(c, "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("upgrade: %w", badStatus{res.StatusCode, ""})
	}
	t.begun(res.Header.Get("X-Node"))
	for i := 0; ctx.Err() == nil; i++ {
		t.message()
		c.hurry()
		text := fmt.Sprint("message ", i)
		_, werr := c.Write(frame(textFrame, []byte(text), true))
		kind, data, err := readFrame(c.r)
		switch {
		case err != nil:
			return fmt.Errorf("after %d messages: %w", i, errors.Join(err, werr))
		case kind == closeFrame:
			if len(data) != 2 || int(data[0])<<8+int(data[1]) != 1001 {
				return fmt.Errorf("closed with %x", data)
			}
			m.Ended.Add(1)
			_, _ = c.Write(frame(closeFrame, data, true))
			return nil
		case string(data) != text:
			return fmt.Errorf("%q came back as %q", text, data)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}
