package embedded

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// ticker is a node whose event stream says what it is told to.
type ticker struct {
	*routertest.TestNode
	say chan string
}

func startTicker(t *testing.T, name string) *ticker {
	tk := &ticker{say: make(chan string)}
	tk.TestNode = routertest.StartNode(t, name, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case text, more := <-tk.say:
				if !more {
					return
				}
				fmt.Fprintf(w, "data: %s\n\n", text)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	return tk
}

// eventStream is a client's end of an event stream.
type eventStream struct {
	res *http.Response
	r   *bufio.Reader
}

func openStream(t *testing.T, listen string) *eventStream {
	t.Helper()
	res, err := http.Get("http://" + listen + "/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return &eventStream{res: res, r: bufio.NewReader(res.Body)}
}

// goesOn holds that what the node says comes through.
func (s *eventStream) goesOn(t *testing.T, tk *ticker, text string) {
	t.Helper()
	select {
	case tk.say <- text:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: the node has no stream any more", text)
	}
	if line, err := s.r.ReadString('\n'); err != nil || line != "data: "+text+"\n" {
		t.Fatalf("%s: the stream gave %q, %v", text, line, err)
	}
	_, _ = s.r.ReadString('\n')
}

// first is the process that was there before all others.
func first(s Status) Status {
	for s.Predecessor != nil {
		s = *s.Predecessor
	}
	return s
}

func mustObserve(t *testing.T, c *Client) router.Edge {
	t.Helper()
	o, err := c.Observe(context.Background())
	if err != nil || len(o.Edges) != 1 {
		t.Fatalf("observe: %+v, %v", o, err)
	}
	return o.Edges[0]
}

func nodeOf(t *testing.T, e router.Edge, name string) router.NodeTraffic {
	t.Helper()
	for _, n := range e.Nodes {
		if n.Node == name {
			return n
		}
	}
	t.Fatalf("node %s is not among %+v", name, e.Nodes)
	return router.NodeTraffic{}
}

// Tables come all the time while the router is upgraded again and again: each is applied, and the oldest process, which has
// a stream, stays known and gets all of them.
func TestTablesDuringUpgrades(t *testing.T) {
	c := startRouter(t, t.TempDir())
	tk := startTicker(t, "a")
	listen := routertest.FreeListen(t)
	table := func(seq uint64) router.Table {
		return routertest.TableOf(seq, routertest.RouteTo(listen, routertest.FleetOf(1, 1, tk.TestNode)))
	}
	mustApply(t, c, table(1))
	s := openStream(t, listen)
	s.goesOn(t, tk, "before")
	oldest := mustStatus(t, c).PID

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var seq uint64 = 1
	var applying sync.WaitGroup
	applied := make(chan struct{}, 1)
	applying.Go(func() {
		for ctx.Err() == nil {
			seq++
			if err := c.Apply(context.Background(), table(seq)); err != nil {
				t.Errorf("apply %d: %v", seq, err)
				return
			}
			select {
			case applied <- struct{}{}:
			default:
			}
			select { // the pace of a busy agent
			case <-time.After(2 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	for i := range 6 {
		<-applied
		upgrade(t, NewClient(c.Dir()))
		if got := first(mustStatus(t, c)).PID; got != oldest {
			t.Fatalf("upgrade %d: the oldest process known is %d, and %d has the stream", i, got, oldest)
		}
		if n := nodeOf(t, mustObserve(t, c), "a"); n.InFlight != 1 || n.Long != 1 {
			t.Fatalf("upgrade %d: %+v", i, n)
		}
		s.goesOn(t, tk, fmt.Sprint("upgrade ", i))
	}
	stop()
	applying.Wait()
	routertest.Eventually(t, "the oldest process has the newest table", func() bool {
		got := first(mustStatus(t, c))
		return got.PID == oldest && got.Table != nil && got.Table.Seq == seq
	})
	if got := mustObserve(t, c).Confirmed.Seq; got != seq {
		t.Errorf("the edge confirms table %d, applied was %d", got, seq)
	}
	close(tk.say)
	if rest, err := io.ReadAll(s.r); err != nil || strings.TrimSpace(string(rest)) != "" {
		t.Errorf("the stream's end: %q, %v", rest, err)
	}
	routertest.Eventually(t, "the predecessors ended", func() bool { return mustStatus(t, c).Predecessor == nil })
}

// A predecessor that is paused is not gone: its connections stay known, and go on with the newest table when it goes on.
func TestPausedPredecessor(t *testing.T) {
	c := startRouter(t, t.TempDir())
	tk, b := startTicker(t, "a"), routertest.StartNode(t, "b", nil)
	listen := routertest.FreeListen(t)
	mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, tk.TestNode))))
	s := openStream(t, listen)
	s.goesOn(t, tk, "before")
	old := mustStatus(t, c).PID
	upgrade(t, c)
	s.goesOn(t, tk, "after the upgrade")
	if n := nodeOf(t, mustObserve(t, c), "a"); n.InFlight != 1 {
		t.Fatalf("%+v", n)
	}

	halt(t, old)
	defer syscall.Kill(old, syscall.SIGCONT)
	// The new process serves by the new table, and does not claim that the old one does.
	mustApply(t, c, routertest.TableOf(2, routertest.RouteTo(listen, routertest.FleetOf(2, 1, b))))
	if _, body := fetch(t, "GET", "http://"+listen+"/", "", nil); body != "b" {
		t.Errorf("while the old process is paused: %q", body)
	}
	if st := mustStatus(t, c); st.Predecessor == nil || st.Predecessor.PID != old {
		t.Fatalf("the paused process is not known any more: %+v", st)
	}
	edge := mustObserve(t, c)
	if n := nodeOf(t, edge, "a"); n.InFlight != 1 || n.Long != 1 || edge.Confirmed.Seq != 1 {
		t.Fatalf("while the old process is paused: %+v of %+v", n, edge)
	}
	// And it may be upgraded meanwhile.
	upgrade(t, c)
	if got := first(mustStatus(t, c)).PID; got != old {
		t.Fatalf("after one more upgrade the oldest process known is %d, and %d is paused", got, old)
	}

	if err := syscall.Kill(old, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	routertest.Eventually(t, "the old process has the new table", func() bool {
		got := first(mustStatus(t, c))
		return got.PID == old && got.Table != nil && got.Table.Seq == 2 && mustObserve(t, c).Confirmed.Seq == 2
	})
	s.goesOn(t, tk, "after the pause")
	close(tk.say)
	routertest.Eventually(t, "the predecessors ended", func() bool { return mustStatus(t, c).Predecessor == nil })
	if got := mustObserve(t, c).Routes[0]; got.Requests != 2 || got.Failed != 0 {
		t.Errorf("in the end: %+v", got)
	}
}

// A predecessor that was killed is gone at once, whatever it had; what it counted stays.
func TestKilledPredecessor(t *testing.T) {
	c := startRouter(t, t.TempDir())
	tk := startTicker(t, "a")
	listen := routertest.FreeListen(t)
	table := func(seq uint64) router.Table {
		return routertest.TableOf(seq, routertest.RouteTo(listen, routertest.FleetOf(1, 1, tk.TestNode)))
	}
	mustApply(t, c, table(1))
	openStream(t, listen).goesOn(t, tk, "before")
	old := mustStatus(t, c).PID
	upgrade(t, c)
	if n := nodeOf(t, mustObserve(t, c), "a"); n.InFlight != 1 {
		t.Fatalf("%+v", n)
	}
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	mustApply(t, c, table(2))
	routertest.Eventually(t, "the killed process is forgotten", func() bool { return mustStatus(t, c).Predecessor == nil })
	edge := mustObserve(t, c)
	if n := nodeOf(t, edge, "a"); n.InFlight != 0 || n.Long != 0 || n.Requests != 1 || edge.Confirmed.Seq != 2 {
		t.Errorf("%+v of %+v", n, edge)
	}
}

// A stop that comes while the router is upgraded ends both processes.
func TestStopDuringAnUpgrade(t *testing.T) {
	for _, how := range []string{"stop", "SIGTERM"} {
		t.Run(how, func(t *testing.T) {
			c := startRouter(t, t.TempDir())
			node := routertest.StartNode(t, "a", nil)
			listen := routertest.FreeListen(t)
			mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, node))))
			pid := mustStatus(t, c).PID
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			upgraded := make(chan error, 1)
			go func() {
				_, err := NewClient(c.Dir()).Upgrade(context.Background(), exe)
				upgraded <- err
			}()
			awaitChild(t, pid)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if how == "SIGTERM" {
				if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				if <-upgraded == nil { // it was over when the signal came, which the successor then knows nothing of
					err = c.Stop(ctx)
				} else {
					err = waitUnlocked(ctx, c.Dir())
				}
			} else {
				err = c.Stop(ctx)
				<-upgraded // however it went
			}
			if err != nil {
				t.Errorf("stop: %v", err)
			}
			routertest.Eventually(t, "the old process ended", func() bool { return syscall.Kill(pid, 0) != nil })
		})
	}
}

// awaitChild waits until a router has started its successor, which runs: a process that comes before it is only a trial of Go's.
func awaitChild(t *testing.T, pid int) {
	t.Helper()
	routertest.Eventually(t, "a successor starts", func() bool {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, path := range lists {
			b, _ := os.ReadFile(path)
			for _, child := range strings.Fields(string(b)) {
				if env, _ := os.ReadFile("/proc/" + child + "/environ"); strings.Contains(string(env), handoffVar) {
					return true
				}
			}
		}
		return false
	})
}

// halt stops a process, and waits until none of its threads runs any more.
func halt(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	routertest.Eventually(t, "the process is stopped", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		return err == nil && len(threads) > 0 && !slices.ContainsFunc(threads, func(name string) bool {
			b, err := os.ReadFile(name)
			_, state, _ := strings.Cut(string(b), ") ")
			return err == nil && !strings.HasPrefix(state, "T")
		})
	})
}

// A question that is answered before it is wholly written is no reason to give the connection up.
func TestAnsweredBeforeItIsWritten(t *testing.T) {
	ends := socketPair(t)
	const questions = 2
	go func() {
		in := bufio.NewReader(ends[1])
		for range questions {
			req, err := http.ReadRequest(in)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(ends[1], "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			time.Sleep(200 * time.Millisecond) // longer than net/http waits for the end of its own writing
			_, _ = io.Copy(io.Discard, req.Body)
		}
	}()
	c := newConnClient(ends[0])
	for range questions {
		if err := c.call(t.Context(), http.MethodPost, "/v1/follow", strings.Repeat("x", 4<<20), nil); err != nil {
			t.Fatal(err)
		}
	}
}

// socketPair is two connected unix sockets.
func socketPair(t *testing.T) (ends [2]*net.UnixConn) {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range ends {
		f := os.NewFile(uintptr(pair[i]), "end")
		conn, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		ends[i] = conn.(*net.UnixConn)
		t.Cleanup(func() { _ = conn.Close() })
	}
	return ends
}
