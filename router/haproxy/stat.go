package haproxy

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// kinds of rows in "show stat".
const (
	kindFrontend = "0"
	kindBackend  = "1"
	kindServer   = "2"
)

// row is one line of "show stat".
type row struct {
	proxy, server string
	kind          string
	id            string // "PROXY.SERVER" by number, as the tables of latencies have it
	status        string // UP, UP 1/3, DOWN, MAINT, DRAIN, no check…
	address       string // of a server, "ip:port"
	current       int    // streams now
	queued        int
	quiet         time.Duration // since the status last changed
	count         counters
}

// counters rise as long as a worker lives.
type counters struct {
	total    uint64 // streams
	status5x uint64
	connect  uint64 // connections that could not be made at last
	response uint64 // answers that broke or did not come in time
	retries  uint64 // tries again on the same server
	moved    uint64 // and on another one
	cut      uint64 // answers that a node broke off
}

func (c counters) since(from counters) counters {
	return counters{
		total: after(c.total, from.total), status5x: after(c.status5x, from.status5x), connect: after(c.connect, from.connect),
		response: after(c.response, from.response), retries: after(c.retries, from.retries), moved: after(c.moved, from.moved),
		cut: after(c.cut, from.cut),
	}
}

// after is how much a counter rose; one that began anew counts from 0.
func after(now, from uint64) uint64 {
	if now < from {
		return now
	}
	return now - from
}

func (r row) out() bool  { return strings.HasPrefix(r.status, "MAINT") }
func (r row) left() bool { return r.out() || strings.HasPrefix(r.status, "DRAIN") }
func (r row) down() bool { return strings.HasPrefix(r.status, "DOWN") }
func (r row) busy() bool { return r.current+r.queued > 0 }

// parseStat reads the rows of our own proxies. The columns are found by name: later versions add some.
func parseStat(text string) ([]row, error) {
	text, found := strings.CutPrefix(strings.TrimLeft(text, "\n"), "# ")
	if !found {
		return nil, fmt.Errorf("read haproxy's statistics: no heading: %.100q", text)
	}
	in := csv.NewReader(strings.NewReader(text))
	in.FieldsPerRecord, in.ReuseRecord, in.LazyQuotes = -1, true, true
	head, err := in.Read()
	if err != nil {
		return nil, fmt.Errorf("read haproxy's statistics: %w", err)
	}
	at := map[string]int{}
	for i, name := range head {
		at[name] = i
	}
	var rows []row
	for {
		f, err := in.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read haproxy's statistics: %w", err)
		}
		if strings.HasPrefix(f[0], prefix) {
			rows = append(rows, rowOf(f, at))
		}
	}
}

func rowOf(f []string, at map[string]int) row {
	text := func(name string) string {
		if i, ok := at[name]; ok && i < len(f) {
			return f[i]
		}
		return ""
	}
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(text(name), 10, 64) // an empty column counts nothing
		return n
	}
	return row{
		proxy: text("pxname"), server: text("svname"), kind: text("type"), id: text("iid") + "." + text("sid"),
		status: text("status"), address: text("addr"), current: int(number("scur")), queued: int(number("qcur")),
		quiet: time.Duration(number("lastchg")) * time.Second,
		count: counters{
			total: number("stot"), status5x: number("hrsp_5xx"), connect: number("econ"), response: number("eresp"),
			retries: number("wretr"), moved: number("wredis"), cut: number("srv_abrt"),
		},
	}
}
