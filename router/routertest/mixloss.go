package routertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/status"

	"github.com/bootandshoot/release/router"
)

// Loss is a client's requests that did not end well.
type Loss struct {
	Kind     string    // of client
	Cause    string    // "502", "reset", "refused", "ended early", "timeout", "wrong answer" …
	Why      string    // with the details
	Requests int       // without an answer; at least 1
	Node     string    // that had begun to answer; "": none
	Safe     bool      // the router may repeat it
	From     time.Time // when the first of them was sent, or its connection asked for
	Until    time.Time // when its end was seen
}

// String is for people.
func (l Loss) String() string {
	by := ""
	if l.Node != "" {
		by = " by " + l.Node
	}
	return fmt.Sprintf("%s: %s%s at %s, after %s: %s", l.Kind, l.Cause, by, l.Until.Format("15:04:05.000"), l.Until.Sub(l.From).Round(time.Millisecond), l.Why)
}

// Death is the moment of a node's end without a word.
type Death struct {
	Node string
	At   time.Time
}

// deathLag is how long after a death requests still reach a connection whose end is not seen yet.
const deathLag = time.Second

// DiedWith says whether the loss is due to one of the deaths, and nobody could have helped: the node had begun to answer, or may
// have begun to work on a request that must not be repeated.
func (l Loss) DiedWith(deaths []Death) bool {
	if l.Node == "" && l.Safe {
		return false
	}
	return slices.ContainsFunc(deaths, func(d Death) bool {
		return (l.Node == "" || l.Node == d.Node) && !l.From.After(d.At.Add(deathLag)) && !l.Until.Before(d.At)
	})
}

// Tell sums losses up for people: how many requests by cause.
func Tell(losses []Loss) string {
	causes := map[string]int{}
	for _, l := range losses {
		causes[l.Kind+" "+l.Cause] += l.Requests
	}
	var parts []string
	for _, cause := range slices.Sorted(maps.Keys(causes)) {
		parts = append(parts, fmt.Sprintf("%d %s", causes[cause], cause))
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// CountLost is how many requests the losses are.
func CountLost(losses []Loss) int {
	sum := 0
	for _, l := range losses {
		sum += l.Requests
	}
	return sum
}

func (t *tally) loss(kind string, began time.Time, err error) Loss {
	if len(t.open) > 0 {
		began = t.open[0]
	}
	return Loss{
		Kind: kind, Cause: causeOf(err), Why: err.Error(), Requests: max(len(t.open), 1), Node: t.node, Safe: !t.unsafe, From: began,
		Until: time.Now(),
	}
}

// badStatus is an answer of another status than 200.
type badStatus struct {
	code int
	body string
}

func (s badStatus) Error() string { return fmt.Sprintf("%d %.100q", s.code, s.body) }

func causeOf(err error) string {
	var bad badStatus
	var timeout net.Error
	switch {
	case errors.As(err, &bad):
		return fmt.Sprint(bad.code)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "ended early"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	if s, ok := status.FromError(err); ok {
		return "gRPC " + s.Code().String()
	}
	return "other"
}

// Counted is what a router counted on all routes of its table.
func Counted(t *testing.T, b router.Backend) router.RouteTraffic {
	t.Helper()
	o, err := b.Observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var sum router.RouteTraffic
	for _, e := range o.Edges {
		for _, r := range e.Routes {
			sum.Requests += r.Requests
			sum.Failed += r.Failed
			sum.NoNode += r.NoNode
			sum.Rejected += r.Rejected
			sum.Retried += r.Retried
		}
	}
	return sum
}
