package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// excerpt is how much of a body or of a command's output goes into a message, in bytes.
const excerpt = 200

// Check asks a node once, for at most the timeout of its parameters.
func Check(ctx context.Context, t Target) Result {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, t.Params.WithDefaults().Timeout)
	defer cancel()
	err := ask(ctx, t)
	r := Result{At: time.Now(), OK: err == nil, Latency: time.Since(began)}
	if err != nil {
		r.Message = err.Error()
	}
	return r
}

func ask(ctx context.Context, t Target) error {
	switch {
	case t.Probe.HTTP != nil:
		return askHTTP(ctx, t, *t.Probe.HTTP)
	case t.Probe.GRPC != nil:
		return askGRPC(ctx, t, *t.Probe.GRPC)
	case len(t.Probe.Exec) > 0:
		return askExec(ctx, t)
	case t.Probe.TCP:
		conn, err := dial(ctx, t)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return errors.New("the health check names no probe")
}

// dial opens a connection to the node, or says in plain words that nobody answers there.
func dial(ctx context.Context, t Target) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, fmt.Errorf("no answer at %s: %s", where(t), reason(err))
	}
	return conn, nil
}

// where is the address, and what its port is about: an app that ignores $PORT listens elsewhere when nodes share the
// machine's network, where each has another one than the image declares.
func where(t Target) string {
	if t.Port == 0 {
		return t.Address
	}
	own := strconv.Itoa(t.Port)
	if _, port, err := net.SplitHostPort(t.Address); err == nil && port != own {
		return t.Address + " (does the app listen on $PORT, and not on " + own + " always?)"
	}
	return t.Address + " ($PORT=" + own + ")"
}

// reason is the root of a network error without the layers around it.
func reason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timed out"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed without an answer"
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		if op.Timeout() {
			return "timed out"
		}
		return op.Err.Error()
	}
	return err.Error()
}

func askHTTP(ctx context.Context, t Target, h HTTP) error {
	path := h.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.Address+path, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", where(t), err)
	}
	req.Host = h.Host
	req.Header.Set("User-Agent", "release-healthcheck")
	conn, err := dial(ctx, t) // before the client exists: most probes of a starting node end here, and cheaply
	if err != nil {
		return err
	}
	defer conn.Close()
	resp, err := httpClient(conn).Do(req)
	if err != nil {
		return fmt.Errorf("GET %s at %s: %s", path, where(t), reason(err))
	}
	defer resp.Body.Close()
	if good(h.Status, resp.StatusCode) {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, excerpt))
	return fmt.Errorf("GET %s at %s answered %s, wanted %s%s", path, where(t), resp.Status, wanted(h.Status), quoted(string(body)))
}

// httpClient makes one request on the connection: what is asked is also whether the node takes new ones.
func httpClient(conn net.Conn) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
			DialContext:            func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func good(codes []int, code int) bool {
	if len(codes) == 0 {
		return code >= 200 && code < 300
	}
	return slices.Contains(codes, code)
}

// wanted is the good codes for people.
func wanted(codes []int) string {
	if len(codes) == 0 {
		return "200-299"
	}
	var list []string
	for _, code := range codes {
		list = append(list, strconv.Itoa(code))
	}
	return strings.Join(list, " or ")
}

// askGRPC keeps the error of the dialer, since the one that gRPC makes of it is unreadable.
func askGRPC(ctx context.Context, t Target, g GRPC) error {
	var dialErr atomic.Pointer[error] // the dialer runs on a goroutine of the connection
	conn, err := grpc.NewClient("passthrough:///"+t.Address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := dial(ctx, t)
			if err != nil {
				dialErr.Store(&err)
			}
			return conn, err
		}))
	if err != nil {
		return fmt.Errorf("ask %s: %w", where(t), err)
	}
	resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: g.Service})
	_ = conn.Close()
	switch {
	case err != nil && dialErr.Load() != nil:
		return *dialErr.Load()
	case err != nil:
		return fmt.Errorf("gRPC health of %q at %s: %w", g.Service, where(t), err)
	case resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING:
		return fmt.Errorf("gRPC health of %q at %s is %s", g.Service, where(t), resp.GetStatus())
	}
	return nil
}

func askExec(ctx context.Context, t Target) error {
	if t.Exec == nil {
		return errors.New("this driver cannot run a command in a node: use another kind of health check")
	}
	command := strings.Join(t.Probe.Exec, " ")
	code, output, err := t.Exec(ctx, t.Probe.Exec)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("command %q timed out", command)
	case err != nil:
		return fmt.Errorf("command %q: %w", command, err)
	case code != 0:
		return fmt.Errorf("command %q ended with %d%s", command, code, quoted(output))
	}
	return nil
}

// quoted is the first line of foreign text, fit for a message: bounded and without control characters.
func quoted(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, text[:min(len(text), excerpt)])
	if text == "" {
		return ""
	}
	return ": " + text
}
