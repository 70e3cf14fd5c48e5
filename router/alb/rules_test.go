package alb

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// watched looks at what users get after each request that changed anything, and refuses one of them.
type watched struct {
	next interface {
		Do(*http.Request) (*http.Response, error)
	}
	look    func(action string)
	refuses int
	sent    int
}

// actionOfRequest is what a request asks for: "CreateRule".
func actionOfRequest(r *http.Request) (string, error) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	action, _, _ := strings.Cut(strings.TrimPrefix(string(text), "Action="), "&")
	return action, nil
}

// refusal is an answer in place of AWS's.
func refusal(r *http.Request) *http.Response {
	const no = `<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>no</Message></Error></ErrorResponse>`
	return &http.Response{StatusCode: http.StatusBadRequest, Header: http.Header{"Content-Type": {"text/xml"}}, Body: io.NopCloser(strings.NewReader(no)), Request: r}
}

func (w *watched) Do(r *http.Request) (*http.Response, error) {
	action, err := actionOfRequest(r)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(action, "Describe") || strings.Contains(r.URL.Path, "/operation/Get") {
		return http.DefaultClient.Do(r)
	}
	if w.sent++; w.sent == w.refuses {
		return refusal(r), nil
	}
	res, err := w.next.Do(r)
	w.look(action)
	return res, err
}

// beside is a shop for some hosts, beside another app that takes what no route is for.
func beside(seq uint64, listen string, shop, other *routertest.TestNode, hosts ...string) router.Table {
	mine := routertest.RouteTo(listen, routertest.FleetOf(1, 100, shop))
	mine.Hosts = hosts
	all := routertest.RouteTo(listen, router.Fleet{ID: "wiki/production/web/r1/1", Release: "r1", Weight: 100, Nodes: []router.Node{{Name: other.Name, Address: other.Address}}})
	all.Name = "wiki/production/web"
	return routertest.TableOf(seq, mine, all)
}

// TestNeighbour: when a route's hosts change, its users are never another app's, whichever call is the last, or is refused.
func TestNeighbour(t *testing.T) {
	shop, other := routertest.StartNode(t, "shop", nil), routertest.StartNode(t, "wiki", nil)
	for _, way := range []string{"killed", "refused"} {
		for at, goes := 1, true; goes && !t.Failed(); at++ {
			t.Run(fmt.Sprint(way, " at ", at), func(t *testing.T) { goes = neighbour(t, way, at, shop, other) })
		}
	}
}

// neighbour is false when there are fewer calls.
func neighbour(t *testing.T, way string, at int, shop, other *routertest.TestNode) bool {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	listen := routertest.FreeListen(t)
	c.listen(listen)
	c.apply(c.backend(), beside(1, listen, shop, other, "a.example"))
	look := func(action string) {
		if _, body := get(t, listen, "a.example", "/"); body != "shop" {
			t.Errorf("after %s, users of a.example are on %q", action, body)
		}
	}
	killer := &awstest.Killer{After: true}
	client := &watched{next: killer, look: look}
	if way == "killed" {
		killer.At = at
	} else {
		client.refuses = at
	}
	watch := func(_ *Options, o *awsapi.Options) { o.Client, o.Tries = client, 1 }
	next := beside(2, listen, shop, other, "a.example", "b.example")
	err := c.backend(watch).Apply(t.Context(), next)
	goes := killer.Dead() || client.refuses > 0 && client.sent >= client.refuses
	if goes == (err == nil) {
		t.Errorf("%d calls: %v", client.sent, err)
	}
	look("all")
	client.next, client.refuses = http.DefaultClient, 0
	if err := c.resume(c.backend(watch), next); err != nil {
		t.Error(err)
	}
	if _, body := get(t, listen, "b.example", "/"); body != "shop" {
		t.Errorf("users of b.example are on %q", body)
	}
	return goes
}
