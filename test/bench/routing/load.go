package routing

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// runLoad keeps connections busy with one request after another, as wrk does. The process pid is in between.
func runLoad(address string, pid, connections int, d time.Duration) (Load, error) {
	deadline := time.Now().Add(d)
	before := cpuTime(pid)
	var mu sync.Mutex
	var took []time.Duration
	var failed int
	var first error
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			own, err := oneConnection(address, deadline)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
			if err != nil {
				failed++
				first = err
			}
		})
	}
	wg.Wait()
	if failed == connections {
		return Load{}, fmt.Errorf("load on %s: %w", address, first)
	}
	slices.Sort(took)
	return Load{
		PerSecond: float64(len(took)) / d.Seconds(), P99: took[len(took)*99/100], Failed: failed,
		CPU: (cpuTime(pid) - before) / time.Duration(len(took)),
	}, nil
}

// cpuTime is what a process used so far, from its fields 14 and 15 in /proc/pid/stat (ticks of 10 ms); 0 for pid 0.
func cpuTime(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var ticks time.Duration
	for _, field := range f[11:13] {
		n, _ := strconv.Atoi(field) // the kernel writes numbers
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}

// oneConnection gives the time of each answer until the deadline.
func oneConnection(address string, deadline time.Time) ([]time.Duration, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	var took []time.Duration
	for {
		start := time.Now()
		if start.After(deadline) {
			return took, nil
		}
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
			return took, err
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return took, err
		}
		n, err := io.Copy(io.Discard, res.Body)
		if err != nil || res.StatusCode != 200 || n != answerSize {
			return took, fmt.Errorf("status %d, %d bytes: %w", res.StatusCode, n, err)
		}
		took = append(took, time.Since(start))
	}
}
