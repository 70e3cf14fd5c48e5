package instance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/pause"
)

// MetadataAddress is where an instance of EC2 asks for what it was launched with.
const MetadataAddress = "169.254.169.254:80"

const (
	metadataLimit = 10 * time.Second // of one request
	metadataPause = 500 * time.Millisecond
	mostUserData  = 64 << 10 // bytes; EC2 takes 16 KiB
)

// errLater is an answer that another try may change.
var errLater = errors.New("the metadata service does not answer properly")

// UserData reads an instance's user data from the metadata service, version 2: a token is asked for first. An instance without
// any has nil. What fails for a reason that may pass, such as a network that comes up just now, is tried again until ctx ends.
//
// The few requests are written here as HTTP/1.0: the program that asks is the first of every machine, and is small without net/http.
// [EC2 user guide: retrieve instance metadata]
func UserData(ctx context.Context, address string) ([]byte, error) {
	for {
		data, err := userData(ctx, address)
		if err == nil || !errors.Is(err, errLater) {
			return data, err
		}
		if pause.For(ctx, metadataPause) != nil {
			return nil, fmt.Errorf("read user data: %w", err)
		}
	}
}

func userData(ctx context.Context, address string) ([]byte, error) {
	status, token, err := metadata(ctx, address, "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60")
	switch {
	case err != nil:
		return nil, err
	case status != 200 || strings.ContainsAny(string(token), "\r\n"):
		return nil, fmt.Errorf("%w: it gives no token, status %d", errLater, status)
	}
	status, data, err := metadata(ctx, address, "GET", "/latest/user-data", "X-aws-ec2-metadata-token: "+string(token))
	switch {
	case err != nil:
		return nil, err
	case status == 404:
		return nil, nil
	case status == 200:
		return data, nil
	case status >= 500:
		return nil, fmt.Errorf("%w: status %d", errLater, status)
	}
	return nil, fmt.Errorf("read user data: the metadata service says %d", status)
}

// metadata is one request on a connection of its own.
func metadata(ctx context.Context, address, method, path, header string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, metadataLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errLater, err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return 0, nil, err
	}
	host, _, _ := net.SplitHostPort(address) // it was dialled
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.0\r\nHost: %s\r\n%s\r\nContent-Length: 0\r\n\r\n", method, path, host, header); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errLater, err)
	}
	status, body, err = answer(bufio.NewReader(io.LimitReader(conn, mostUserData)))
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errLater, err)
	}
	return status, body, nil
}

// answer reads an answer whose body has a length, or goes on to the end of the connection.
func answer(r *bufio.Reader) (status int, body []byte, err error) {
	first, err := r.ReadString('\n')
	if err != nil {
		return 0, nil, err
	}
	words := strings.Fields(first)
	if len(words) < 2 || !strings.HasPrefix(words[0], "HTTP/1.") {
		return 0, nil, fmt.Errorf("it is no HTTP")
	}
	if status, err = strconv.Atoi(words[1]); err != nil {
		return 0, nil, fmt.Errorf("it has the status %q", words[1])
	}
	length := -1
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, nil, err
		}
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "" {
			break
		}
		if strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil || length < 0 || length > mostUserData {
				return 0, nil, fmt.Errorf("its length is %q", value)
			}
		}
	}
	if length < 0 {
		body, err = io.ReadAll(r)
		return status, body, err
	}
	body = make([]byte, length)
	_, err = io.ReadFull(r, body)
	return status, body, err
}
