package haproxy

import (
	"context"
	"errors"
	"net"
	"slices"
	"syscall"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

var _ router.Prechecker = (*Backend)(nil)

// Precheck implements router.Prechecker.
func (b *Backend) Precheck(ctx context.Context, r router.Route) error {
	if err := supports(router.Table{Routes: []router.Route{r}}); err != nil {
		return err
	}
	if err := checkTLS(&r); err != nil {
		return err
	}
	return b.each(func(_ int, e *edge) error {
		p, l, err := e.current(ctx)
		if err != nil || !sameNetwork(p.master) {
			return nil //nolint:nilerr // nobody knows which addresses are its own
		}
		return blocked(&r, l.addresses())
	})
}

// addresses are those that the worker listens on for the table that it has.
func (l *layout) addresses() []string {
	t, err := l.notes.table()
	if err != nil {
		return nil
	}
	return addresses(arrange(l, t))
}

// blocked says whether another program has an address of the route. mine are HAProxy's own.
func blocked(r *router.Route, mine []string) error {
	for _, listen := range []string{r.Listen, redirectOf(r)} {
		if listen != "" && !slices.ContainsFunc(mine, func(m string) bool { return samePort(m, listen) }) && taken(listen) {
			return fault.New(fault.Exists, "route %q: listen on %s: the port is taken by another program", r.Name, listen).
				WithHint("end that program or give the route another listen address: ss -ltnp shows who has it")
		}
	}
	return nil
}

func samePort(a, b string) bool {
	_, portA, errA := net.SplitHostPort(a)
	_, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB
}

// taken says whether somebody else listens there. What else may keep us from listening is HAProxy's to find out.
func taken(listen string) bool {
	l, err := net.Listen("tcp", listen)
	if err == nil {
		_ = l.Close()
	}
	return errors.Is(err, syscall.EADDRINUSE)
}
