package instance_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/instance"
)

func TestUserData(t *testing.T) {
	for name, tt := range map[string]struct {
		options awstest.Options
		fault   func(awstest.Call) *awstest.Fault
		want    string
		fails   bool
	}{
		"settings": {options: awstest.Options{UserData: `{"schema":1}`}, want: `{"schema":1}`},
		"none":     {},
		"busy at first": {options: awstest.Options{UserData: "x"}, want: "x", fault: func(c awstest.Call) *awstest.Fault {
			if c.N < 4 {
				return &awstest.Fault{Status: 503, Message: "later"}
			}
			return nil
		}},
		"refused": {fails: true, fault: func(c awstest.Call) *awstest.Fault {
			if c.Action == "user-data" {
				return &awstest.Fault{Status: 403, Message: "no"}
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := awstest.Start(t, tt.options)
			s.Intercept(tt.fault)
			got, err := instance.UserData(t.Context(), strings.TrimPrefix(s.URL, "http://"))
			if string(got) != tt.want || (err != nil) != tt.fails {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

// TestUserDataWaits: what is not there yet is waited for, until there is no more time.
func TestUserDataWaits(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := instance.UserData(ctx, address); err == nil || ctx.Err() == nil {
		t.Errorf("nobody answers: %v", err)
	}
}

func TestUserDataOfOddServers(t *testing.T) {
	answers := []string{"", "SSH-2.0-x\r\n", "HTTP/1.0 x\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nshort",
		"HTTP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n" + strings.Repeat("x\r\n", 10)}
	for _, text := range answers {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			fmt.Fprint(conn, text)
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if got, err := instance.UserData(ctx, s.Listener.Addr().String()); err == nil {
			t.Errorf("%q gives %q", text, got)
		}
		cancel()
		s.Close()
	}
}
