package routertest

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
)

// testFailed: requests that wait at nodes which failed are taken back where that is safe, refused where nobody will answer, and
// stay where somebody may.
func testFailed(t *testing.T, in Instance) {
	let := make(chan struct{})
	defer close(let)
	mute := func(name string) *TestNode {
		return StartNode(t, name, func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-let:
			case <-r.Context().Done():
			}
		})
	}
	c, listen := client(t), FreeListen(t)
	ask := func(method string, node *TestNode) <-chan string {
		got, before := make(chan string, 1), node.Seen.Load()
		go func() {
			req, err := http.NewRequest(method, "http://"+listen+"/", strings.NewReader(""))
			if err != nil {
				got <- err.Error()
				return
			}
			res, err := c.Do(req)
			if err != nil {
				got <- err.Error()
				return
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			switch {
			case err != nil:
				got <- err.Error()
			case res.StatusCode != 200:
				got <- res.Status[:3]
			default:
				got <- string(b)
			}
		}()
		Eventually(t, "the node has the request", func() bool { return node.Seen.Load() > before })
		return got
	}
	unwell, gone, well := mute("a"), mute("b"), StartNode(t, "c", nil)
	mustApply(t, in.Backend, TableOf(1, RouteTo(listen, FleetOf(1, 100, unwell))))
	post, get := ask("POST", unwell), ask("GET", unwell)
	mustApply(t, in.Backend, TableOf(2, RouteTo(listen, FleetOf(1, 100, gone))))
	lost, put := ask("POST", gone), ask("PUT", gone)
	table := TableOf(3, RouteTo(listen, FleetOf(1, 100, well)))
	table.Failed = []router.Failed{{Fleet: FleetOf(1, 0).ID, Node: "a"}, {Fleet: FleetOf(1, 0).ID, Node: "b", Gone: true}}
	mustApply(t, in.Backend, table)
	for _, want := range []struct {
		what string
		got  <-chan string
		text string
	}{{"GET at an unhealthy node", get, "c"}, {"POST at a node that is gone", lost, "502"}, {"PUT at a node that is gone", put, "c"}} {
		select {
		case got := <-want.got:
			if got != want.text {
				t.Errorf("%s: %q, want %q", want.what, got, want.text)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: no answer, want %q", want.what, want.text)
		}
	}
	select {
	case got := <-post:
		t.Errorf("POST at an unhealthy node: %q, while it is at work on it", got)
	default:
	}
}
