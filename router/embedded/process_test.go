package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

func mustStatus(t *testing.T, c *Client) Status {
	t.Helper()
	s, err := c.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustApply(t *testing.T, c *Client, table router.Table) {
	t.Helper()
	if err := c.Apply(context.Background(), table); err != nil {
		t.Fatal(err)
	}
}

func TestNoRouterIsUnavailable(t *testing.T) {
	c := NewClient(t.TempDir())
	_, err := c.Observe(context.Background())
	for name, err := range map[string]error{
		"apply": c.Apply(context.Background(), routertest.TableOf(1)), "observe": err,
	} {
		if !errors.Is(err, router.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Stop(context.Background()); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestOneRouterAFolder(t *testing.T) {
	dir := t.TempDir()
	first := startRouter(t, dir)
	pid := mustStatus(t, first).PID
	err := Run(context.Background(), Config{Dir: dir})
	if !fault.Is(err, fault.Busy) {
		t.Errorf("a second router: %v", err)
	}
	var wg sync.WaitGroup
	fresh := t.TempDir()
	pids := make([]int, 4)
	for i := range pids {
		wg.Go(func() { pids[i] = mustStatus(t, startRouter(t, fresh)).PID })
	}
	wg.Wait()
	for _, p := range pids {
		if p != pids[0] || p == pid {
			t.Errorf("four at once: pids %v", pids)
		}
	}
	if again := mustStatus(t, startRouter(t, dir)).PID; again != pid {
		t.Errorf("a running router was not adopted: %d, then %d", pid, again)
	}
}

func TestSpawnedRouterIsDetached(t *testing.T) {
	held, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	dir := t.TempDir()
	pid := mustStatus(t, startRouter(t, dir)).PID
	if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); cwd != "/" {
		t.Errorf("working folder %s", cwd)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	if f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:])); f[3] != fmt.Sprint(pid) {
		t.Errorf("session %s of process %d", f[3], pid)
	}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		to, _ := os.Readlink(fd)
		ours := strings.HasPrefix(to, dir) || strings.HasPrefix(to, "socket:") || strings.HasPrefix(to, "anon_inode:") || to == os.DevNull || to == ""
		if !ours && !strings.HasPrefix(to, "/sys/") {
			t.Errorf("descriptor %s leads to %s", filepath.Base(fd), to)
		}
	}
	info, err := os.Stat(filepath.Join(dir, socketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("control socket %v, %v", info, err)
	}
}

func TestDeepFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 40))
	c := startRouter(t, dir)
	mustApply(t, c, routertest.TableOf(1))
}

func TestRouterThatCanNotStart(t *testing.T) {
	exe, err := exec.LookPath("false")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Ensure(context.Background(), t.TempDir(), exe, nil); err == nil {
		t.Fatal("no error")
	}
}

// Invariant: a router that was killed serves its last table within 200 ms of its start, however large the table is. The best of
// some starts counts: others use the machine, too.
func TestServesAgainAfterKill(t *testing.T) {
	const limit = 200 * time.Millisecond
	exe := withoutRaceDetector(t)
	for _, routes := range []int{1, 100} {
		t.Run(fmt.Sprint(routes, " routes"), func(t *testing.T) {
			dir := t.TempDir()
			c := startProgram(t, dir, exe)
			node := routertest.StartNode(t, "a", nil)
			listen := routertest.FreeListen(t)
			list := []router.Route{routertest.RouteTo(listen, routertest.FleetOf(1, 1, node))}
			for i := 1; i < routes; i++ {
				r := routertest.RouteTo(listen, routertest.FleetOf(1, 1))
				r.Name, r.Hosts = fmt.Sprint("other/", i), []string{fmt.Sprint("h", i, ".example")}
				for k := range 10 {
					r.Fleets[0].Nodes = append(r.Fleets[0].Nodes, router.Node{Name: fmt.Sprint(k), Address: fmt.Sprintf("127.9.%d.%d:80", i, k)})
				}
				list = append(list, r)
			}
			mustApply(t, c, routertest.TableOf(1, list...))
			best := time.Hour
			for try := 0; try < 5 && best > limit/2; try++ {
				kill(t, c)
				start := time.Now()
				startProgram(t, dir, exe)
				if _, body := fetch(t, "GET", "http://"+listen+"/", "", nil); body != "a" {
					t.Fatalf("%q", body)
				}
				best = min(best, time.Since(start))
			}
			t.Logf("first answer %s after the start", best)
			if best > limit {
				t.Errorf("first answer %s after the start, want at most %s", best, limit)
			}
		})
	}
}

func TestStopLetsRequestsFinish(t *testing.T) {
	for _, how := range []string{"stop", "SIGTERM"} {
		t.Run(how, func(t *testing.T) {
			c := startRouter(t, t.TempDir())
			arrived, finish := make(chan struct{}), make(chan struct{})
			node := routertest.StartNode(t, "a", func(w http.ResponseWriter, _ *http.Request) {
				close(arrived)
				<-finish
				fmt.Fprint(w, "whole")
			})
			listen := routertest.FreeListen(t)
			mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, node))))
			answer := make(chan string, 1)
			go func() {
				_, body := fetch(t, "GET", "http://"+listen+"/", "", nil)
				answer <- body
			}()
			<-arrived
			pid := mustStatus(t, c).PID
			ended := make(chan error, 1)
			if how == "stop" {
				go func() { ended <- c.Stop(context.Background()) }()
			} else {
				_ = syscall.Kill(pid, syscall.SIGTERM)
				go func() { ended <- waitUnlocked(context.Background(), c.Dir()) }()
			}
			routertest.Eventually(t, "it stopped accepting", func() bool {
				s, err := c.Status(context.Background())
				return err == nil && s.Draining
			})
			close(finish)
			if got := <-answer; got != "whole" {
				t.Errorf("request in flight: %q", got)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(c.Dir(), socketName)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the control socket stays: %v", err)
			}
		})
	}
}

func TestControlAPIRefusesNonsense(t *testing.T) {
	c := startRouter(t, t.TempDir())
	for _, body := range []string{"", "null", "{", `{"schema":1}{"schema":1}`, `{"schema":99}`, `[]`, `{"schema":1,"routes":[{}]}`} {
		req, _ := http.NewRequest("POST", "http://router/v1/apply", strings.NewReader(body))
		res, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode == 200 || !strings.Contains(string(b), `"code"`) {
			t.Errorf("%q: %d %s", body, res.StatusCode, b)
		}
	}
}
