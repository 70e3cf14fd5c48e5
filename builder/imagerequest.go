package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/bootandshoot/release/recipes"
)

// Bounds of one request of a test.
const (
	requestTime = 5 * time.Second
	bodyLimit   = 1 << 20
	bodyShown   = 200
)

// request asks once. The connection comes from inside the image's network.
func (t *trial) request(ctx context.Context, h *recipes.HTTPTest) error {
	return request(ctx, h, func(ctx context.Context) (net.Conn, error) { return t.process.Dial(ctx, h.Port) })
}

// request asks once, over a connection of dial's; redirects are answers.
func request(ctx context.Context, h *recipes.HTTPTest, dial func(context.Context) (net.Conn, error)) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	what := fmt.Sprintf("GET %s at port %d", h.Path, h.Port)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", h.Port, h.Path), nil)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	req.Host = h.Host
	req.Header.Set("User-Agent", "release-test")
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %s", what, rootOf(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	switch {
	case err != nil:
		return fmt.Errorf("%s: read the answer: %s", what, rootOf(err))
	case resp.StatusCode != h.Status:
		return fmt.Errorf("%s answered %s instead of %d%s", what, resp.Status, h.Status, begin(body))
	case h.Body != nil && !h.Body.Match(body):
		return fmt.Errorf("%s answered with a body that does not match %s%s", what, h.Body, begin(body))
	}
	return nil
}

// rootOf is an error of the network without the layers around it.
func rootOf(err error) string {
	var errno syscall.Errno
	var u *url.Error
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &u):
		return u.Err.Error()
	}
	return err.Error()
}

// begin shows the begin of a body.
func begin(body []byte) string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(body[:min(len(body), bodyShown)]), "\uFFFD"))
	if text == "" {
		return ", with an empty body"
	}
	return fmt.Sprintf(": %q", text)
}
