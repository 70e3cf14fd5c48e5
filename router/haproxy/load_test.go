package haproxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// load asks without end, GETs and POSTs.
type load struct {
	stop   chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
	sent   atomic.Int64
	failed atomic.Int64
	saw    sync.Map // answers
}

// startLoad starts so many clients that keep their connection, and so many with a new one for each request.
func startLoad(t *testing.T, listen string, kept, anew int) *load {
	t.Helper()
	l := &load{stop: make(chan struct{})}
	t.Cleanup(func() { // of a test that ended early
		l.over()
		l.wg.Wait()
	})
	for i := range kept + anew {
		tr := &http.Transport{DisableKeepAlives: i >= kept}
		c := &http.Client{Transport: tr}
		l.wg.Go(func() {
			defer tr.CloseIdleConnections()
			for k := 0; ; k++ {
				select {
				case <-l.stop:
					return
				default:
				}
				l.sent.Add(1)
				if err := l.ask(c, listen, k%3 == 0); err != nil {
					l.failed.Add(1)
					t.Errorf("request lost: %v", err)
					return
				}
			}
		})
	}
	return l
}

func (l *load) ask(c *http.Client, listen string, post bool) error {
	method, body := http.MethodGet, io.Reader(nil)
	if post {
		method, body = http.MethodPost, strings.NewReader("body")
	}
	req, err := http.NewRequest(method, "http://"+listen+"/", body)
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != 200 {
		return fmt.Errorf("status %d: %s", res.StatusCode, b)
	}
	l.saw.Store(string(b), true)
	return nil
}

func (l *load) over() { l.once.Do(func() { close(l.stop) }) }

// end stops it, and wants that nothing was lost.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.over()
	l.wg.Wait()
	if l.failed.Load() > 0 || l.sent.Load() == 0 {
		t.Errorf("%d requests of %d were lost", l.failed.Load(), l.sent.Load())
	}
	t.Logf("%d requests, %d lost", l.sent.Load(), l.failed.Load())
}

// table is one of version (1, seq) with a single route.
func table(seq uint64, listen string, fleets ...router.Fleet) router.Table {
	return routertest.TableOf(seq, routertest.RouteTo(listen, fleets...))
}
