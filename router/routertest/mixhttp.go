package routertest

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// fetch sends one request and checks its answer: want is its body, or "*".
func (t *tally) fetch(c *http.Client, method, target, want string, body io.Reader, length int64) error {
	t.ask(method == "GET" && body == nil)
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		return err
	}
	if body != nil {
		req.ContentLength = length
	}
	id := fmt.Sprint(t.n)
	req.Header.Set("X-Id", id)
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	t.begun(res.Header.Get("X-Node"))
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return fmt.Errorf("%s %s: %w after %d bytes of a %d", method, target, err, len(got), res.StatusCode)
	case res.StatusCode != 200:
		return fmt.Errorf("%s %s: %w", method, target, badStatus{res.StatusCode, string(got)})
	case want != "*" && string(got) != want:
		return fmt.Errorf("%s %s: %d bytes of something else, %.100q", method, target, len(got), got)
	case res.Header.Get("X-Id") != id:
		return fmt.Errorf("%s %s: the answer to %s came to %s", method, target, res.Header.Get("X-Id"), id)
	}
	t.done()
	return nil
}

// session calls one with a client of its own connections, again and again.
func (t *tally) session(ctx context.Context, tr *http.Transport, one func(c *http.Client, i int) error) error {
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Timeout: time.Minute}
	for i := 0; ctx.Err() == nil; i++ {
		if err := one(c, i); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mix) keepAlive(ctx context.Context, t *tally) error {
	return t.session(ctx, &http.Transport{}, func(c *http.Client, i int) error {
		if i%2 == 0 {
			return t.fetch(c, "GET", "http://"+m.Plain+"/", "*", nil, 0)
		}
		return t.fetch(c, "POST", "http://"+m.Plain+"/", "*", strings.NewReader("body"), 4)
	})
}

func (m *Mix) newConnections(ctx context.Context, t *tally) error {
	return t.session(ctx, &http.Transport{DisableKeepAlives: true}, func(c *http.Client, _ int) error {
		return t.fetch(c, "GET", "http://"+m.Plain+"/", "*", nil, 0)
	})
}

// bodies go with a length and in chunks, small and large.
func (m *Mix) bodies(ctx context.Context, t *tally) error {
	sizes := []int64{0, 1, 1000, 40_000, 200_000}
	return t.session(ctx, &http.Transport{}, func(c *http.Client, i int) error {
		n := sizes[i%len(sizes)]
		length := n
		if i%2 == 1 {
			length = -1
		}
		return t.fetch(c, []string{"POST", "PUT"}[i/2%2], "http://"+m.Plain+"/sum", sumOf(n), io.LimitReader(xs{}, n), length)
	})
}

func sumOf(n int64) string {
	h := sha256.New()
	_, _ = io.CopyN(h, xs{}, n)
	return hex.EncodeToString(h.Sum(nil))
}

// dripping gives a byte every 20 ms.
type dripping struct{ left int }

func (d *dripping) Read(p []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(20 * time.Millisecond)
	d.left--
	p[0] = 'x'
	return 1, nil
}

func (m *Mix) slowUpload(ctx context.Context, t *tally) error {
	want := sumOf(40)
	return t.session(ctx, &http.Transport{}, func(c *http.Client, i int) error {
		return t.fetch(c, "POST", "http://"+m.Plain+"/sum", want, &dripping{40}, []int64{40, -1}[i%2])
	})
}

func (m *Mix) large(ctx context.Context, t *tally) error {
	want := strings.Repeat("x", 500_000)
	return t.session(ctx, &http.Transport{}, func(c *http.Client, i int) error {
		return t.fetch(c, "GET", "http://"+m.Plain+"/bytes?n=500000&chunked="+[]string{"", "1"}[i%2], want, nil, 0)
	})
}

func (m *Mix) overTLS(ctx context.Context, t *tally) error {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	return t.session(ctx, tr, func(c *http.Client, i int) error {
		if i%10 == 0 {
			tr.CloseIdleConnections()
		}
		return t.fetch(c, []string{"GET", "POST"}[i%2], "https://"+m.TLS+"/", "*", nil, 0)
	})
}

func (m *Mix) h2(ctx context.Context, t *tally) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: protocols}
	return t.session(ctx, tr, func(c *http.Client, i int) error { return t.overH2(c, "https://"+m.TLS, i) })
}

func (m *Mix) h2c(ctx context.Context, t *tally) error {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return t.session(ctx, &http.Transport{Protocols: protocols}, func(c *http.Client, i int) error { return t.overH2(c, "http://"+m.Plain, i) })
}

func (t *tally) overH2(c *http.Client, base string, i int) error {
	switch i % 4 {
	case 1:
		return t.fetch(c, "POST", base+"/sum", sumOf(5000), io.LimitReader(xs{}, 5000), -1)
	case 3:
		return t.fetch(c, "GET", base+"/bytes?n=100000", strings.Repeat("x", 100_000), nil, 0)
	}
	return t.fetch(c, "GET", base+"/", "*", nil, 0)
}

// eventStreams may end before their last event, but only between two of them, and as a node would end one.
func (m *Mix) eventStreams(ctx context.Context, t *tally) error {
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	for ctx.Err() == nil {
		t.ask(true)
		res, err := (&http.Client{Transport: tr}).Get("http://" + m.Plain + "/events")
		if err != nil {
			return err
		}
		t.begun(res.Header.Get("X-Node"))
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		n := strings.Count(string(b), "\n\n")
		switch {
		case err != nil:
			return fmt.Errorf("event stream, after %d events: %w", n, err)
		case res.StatusCode != 200:
			return fmt.Errorf("event stream: %w", badStatus{res.StatusCode, string(b)})
		case !strings.HasSuffix(string(b), "\n\n"):
			return fmt.Errorf("event stream ends in an event: %.100q", b)
		case n < events:
			m.Ended.Add(1)
		}
		t.done()
	}
	return nil
}
