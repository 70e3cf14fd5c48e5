package embedded

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// accessEntry is one line of the access log. Queries and headers are left out: they carry secrets.
type accessEntry struct {
	Time    string  `json:"time"` // arrival, RFC 3339 with microseconds
	Client  string  `json:"client"`
	Method  string  `json:"method"`
	Host    string  `json:"host"`
	Path    string  `json:"path"`
	Proto   string  `json:"proto"`
	Status  int     `json:"status"` // 499: the client went away
	Bytes   int64   `json:"bytes"`  // of the answer's body as the node sent it
	Seconds float64 `json:"seconds"`
	Route   string  `json:"route,omitempty"`
	Release string  `json:"release,omitempty"`
	Fleet   string  `json:"fleet,omitempty"`
	Node    string  `json:"node,omitempty"`
	Tries   int     `json:"tries,omitempty"`
	Preview bool    `json:"preview,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// log writes the exchange's line, if there is a log.
func (x *exchange) log() {
	if x.e.access == nil || !x.sampled() {
		return
	}
	entry := accessEntry{
		Time: x.start.UTC().Format("2006-01-02T15:04:05.000000Z07:00"), Method: string(x.req.Method), Host: x.host, Path: x.urlPath, Proto: x.proto,
		Status: x.status, Bytes: x.bytes, Seconds: x.e.now().Sub(x.start).Seconds(), Tries: x.tries,
		Preview: x.choice.release != "", Error: x.outcome,
	}
	entry.Client = x.peer.Addr().Unmap().String()
	if x.client.IsValid() {
		entry.Client = x.client.String()
	}
	if x.route != nil {
		entry.Route = x.route.name
	}
	if x.target != nil {
		entry.Fleet, entry.Release = x.target.id, x.target.release
	}
	if x.node != nil {
		entry.Node = x.node.name
	}
	x.e.access.write(entry)
}

// sampled says whether the exchange gets a line.
func (x *exchange) sampled() bool {
	share := x.e.cfg.AccessLogSample
	return share >= 1 || x.outcome != "" || x.status >= 500 || float64(x.e.random()>>11)/(1<<53) < share
}

// accessLog appends JSON lines to a file, and at a size moves it to name.1, name.1 to name.2, and so on.
type accessLog struct {
	path  string
	limit int64
	keep  int
	log   *slog.Logger

	mu   sync.Mutex
	f    *os.File
	size int64
	bad  time.Time // when writing failed last: said once a minute
}

// openAccessLog returns the log with an error, too: then nothing is written until reopen.
func openAccessLog(cfg Config) (*accessLog, error) {
	if cfg.AccessLog == "" {
		return nil, nil
	}
	l := &accessLog{path: cfg.AccessLog, limit: cfg.AccessLogBytes, keep: cfg.AccessLogKeep, log: cfg.Log}
	return l, l.open()
}

func (l *accessLog) open() error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return fmt.Errorf("open access log: %w", err)
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open access log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("open access log: %w", err)
	}
	l.f, l.size = f, info.Size()
	return nil
}

// write never stops a request: what can not be written is dropped, and said.
func (l *accessLog) write(entry accessEntry) {
	line, err := json.Marshal(entry)
	if err != nil {
		return // no field can fail
	}
	line = append(line, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+int64(len(line)) > l.limit {
		err = l.rotate()
	}
	if err == nil && l.f != nil {
		var n int
		n, err = l.f.Write(line)
		l.size += int64(n)
	}
	if now := time.Now(); err != nil && now.Sub(l.bad) > time.Minute {
		l.bad = now
		l.log.Error("access log is not written", "path", l.path, "error", err)
	}
}

func (l *accessLog) rotate() error {
	if _, err := os.Stat(l.path); os.IsNotExist(err) { // the last time it could not be made
		_ = l.f.Close()
		return l.open()
	}
	for i := l.keep; i > 0; i-- {
		from := l.path
		if i > 1 {
			from = fmt.Sprintf("%s.%d", l.path, i-1)
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", l.path, i)); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("rotate access log: %w", err)
		}
	}
	if l.keep == 0 {
		if err := os.Remove(l.path); err != nil {
			return fmt.Errorf("rotate access log: %w", err)
		}
	}
	_ = l.f.Close()
	return l.open()
}

// reopen begins the file anew after something else moved it away (SIGHUP).
func (l *accessLog) reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.f.Close()
	return l.open()
}

func (l *accessLog) close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.f.Close()
}
