package routing

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Memory is what the router holds, in bytes of resident memory.
type Memory struct {
	Thousand      int64 // with 1,000 busy connections
	EachIdle      int64 // more for each idle keep-alive connection
	EachWebSocket int64 // more for each idle WebSocket
	WebSockets    int   // that were held through a cutover
	Lost          int   // of them
}

// MeasureMemory opens so many connections of each kind; the WebSockets are asked for a sign of life after a cutover.
func MeasureMemory(ctx context.Context, dir string, idle, sockets int) (m Memory, err error) {
	b := &bench{Options: Options{Dir: dir}.withDefaults()}
	defer b.stop()
	if err := b.start(ctx); err != nil {
		return m, err
	}
	if err := b.client.Apply(ctx, b.table(0, 0)); err != nil {
		return m, err
	}
	status, err := b.client.Status(ctx)
	if err != nil {
		return m, err
	}
	resident := func() int64 { return settled(status.PID) }
	if _, err := runLoad(b.listen, 0, 1000, 3*time.Second); err != nil {
		return m, err
	}
	m.Thousand = peak(status.PID)
	before := resident()
	conns, err := b.openIdle(idle)
	defer conns.close()
	if err != nil {
		return m, err
	}
	m.EachIdle = (resident() - before) / int64(idle)
	conns.close()
	before = resident()
	live, err := b.openSockets(sockets)
	defer live.close()
	if err != nil {
		return m, err
	}
	m.EachWebSocket, m.WebSockets = (resident()-before)/int64(sockets), len(live)
	if err := b.client.Apply(ctx, b.table(1, 0)); err != nil {
		return m, err
	}
	m.Lost = live.dead()
	return m, nil
}

type connections []net.Conn

func (c connections) close() {
	for _, conn := range c {
		_ = conn.Close()
	}
}

// dead counts the WebSockets that do not echo.
func (c connections) dead() int {
	n := 0
	frame, b := []byte("\x82\x84\x00\x00\x00\x00ping"), make([]byte, 6)
	for _, conn := range c {
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write(frame); err != nil {
			n++
			continue
		}
		if _, err := io.ReadFull(conn, b); err != nil || string(b[2:]) != "ping" {
			n++
		}
	}
	return n
}

// portsOf is how many connections come from one address: a machine may have few ports.
const portsOf = 4000

// dial makes the i-th connection.
func (b *bench) dial(i int) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/portsOf))}}
	c, err := d.Dial("tcp", b.listen)
	if err != nil {
		return nil, fmt.Errorf("connection %d: %w", i, err)
	}
	_ = c.SetDeadline(time.Now().Add(patience)) // a router without room lets it wait
	return c, nil
}

func (b *bench) openIdle(n int) (list connections, err error) {
	for i := range n {
		c, err := b.dial(i)
		if err != nil {
			return list, err
		}
		list = append(list, c)
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: bench\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html\r\nAccept-Language: en\r\nCookie: a=b\r\n\r\n"); err != nil {
			return list, err
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return list, err
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
	return list, nil
}

func (b *bench) openSockets(n int) (list connections, err error) {
	for i := range n {
		c, err := b.dial(i)
		if err != nil {
			return list, err
		}
		list = append(list, c)
		if _, err := io.WriteString(c, "GET "+socketPath+" HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); err != nil {
			return list, err
		}
		res, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			return list, fmt.Errorf("open WebSocket %d: %v", i, err)
		}
	}
	return list, nil
}

// socketPath is where nodes speak WebSocket.
const socketPath = "/socket"

// serveSocket echoes frames without their masks, which must be zero.
func serveSocket(w http.ResponseWriter) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	head := make([]byte, 6)
	for {
		if _, err := io.ReadFull(rw, head); err != nil {
			return
		}
		body := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(rw, body); err != nil {
			return
		}
		_, _ = c.Write(append([]byte{head[0], byte(len(body))}, body...))
	}
}

// settled is resident memory once it does not change much any more.
func settled(pid int) int64 {
	last := int64(0)
	for range 40 {
		now := memoryOf(pid, "VmRSS:")
		if last > 0 && now-last < last/200 && last-now < last/200 {
			return now
		}
		last = now
		time.Sleep(500 * time.Millisecond)
	}
	return last
}

func peak(pid int) int64 { return memoryOf(pid, "VmHWM:") }

func memoryOf(pid int, field string) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64) // the kernel writes numbers
			return kb << 10
		}
	}
	return 0
}
