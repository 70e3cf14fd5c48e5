package router

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// Canonical is the table as every backend keeps and compares it: a deep copy with routes sorted by name, fleets by id,
// nodes by name, host names in lower case.
func (t Table) Canonical() Table {
	t.Routes = sorted(t.Routes, func(r Route) string { return r.Name })
	for i := range t.Routes {
		t.Routes[i] = t.Routes[i].canonical()
	}
	t.Closing = sorted(t.Closing, func(c Closing) string { return c.Node })
	t.Failed = sorted(t.Failed, func(f Failed) string { return f.Node })
	return t
}

func (r Route) canonical() Route {
	r.Hosts, r.Paths, r.Trusted = slices.Clone(r.Hosts), slices.Clone(r.Paths), slices.Clone(r.Trusted)
	for i := range r.Hosts {
		r.Hosts[i] = strings.ToLower(r.Hosts[i])
	}
	if r.TLS != nil {
		t := *r.TLS
		t.ACME = copied(t.ACME)
		r.TLS = &t
	}
	r.Preview.From = slices.Clone(r.Preview.From)
	r.Rules = slices.Clone(r.Rules)
	for i := range r.Rules {
		u := &r.Rules[i]
		u.Headers, u.Cookies, u.Paths, u.From = maps.Clone(u.Headers), maps.Clone(u.Cookies), slices.Clone(u.Paths), slices.Clone(u.From)
	}
	r.Sticky = copied(r.Sticky)
	r.Fleets = sorted(r.Fleets, func(f Fleet) string { return f.ID })
	for i := range r.Fleets {
		r.Fleets[i].Nodes = sorted(r.Fleets[i].Nodes, func(n Node) string { return n.Name })
	}
	return r
}

// sorted is a copy in the order of the key.
func sorted[T any](list []T, key func(T) string) []T {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	return list
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

// Encode is the canonical bytes of the table: what "the same version with other bytes" compares.
func (t Table) Encode() ([]byte, error) {
	b, err := json.Marshal(t.Canonical())
	if err != nil {
		return nil, fmt.Errorf("encode table: %w", err)
	}
	return b, nil
}

// Decode reads and validates a table. Unknown fields are ignored: a later writer of the same schema may add some.
func Decode(b []byte) (Table, error) {
	var t Table
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&t); err != nil {
		return Table{}, fault.New(fault.Invalid, "read routing table: %w", err)
	}
	if dec.More() {
		return Table{}, fault.New(fault.Invalid, "read routing table: more than one value")
	}
	if err := t.Validate(); err != nil {
		return Table{}, err
	}
	return t.Canonical(), nil
}

// Supersedes says what becomes of t when the backend has old already: nil to apply it, same when nothing is to be
// done, or ErrStale.
func (t Table) Supersedes(old Table) (same bool, err error) {
	switch c := t.Version.Compare(old.Version); {
	case c > 0:
		return false, nil
	case c < 0:
		return false, fmt.Errorf("apply table %s over %s: %w", t.Version, old.Version, ErrStale)
	}
	a, err := t.Encode()
	if err != nil {
		return false, err
	}
	b, err := old.Encode()
	if err != nil {
		return false, err
	}
	if !bytes.Equal(a, b) {
		return false, fmt.Errorf("apply table %s: same version with other content: %w", t.Version, ErrStale)
	}
	return true, nil
}

// String is "epoch.seq".
func (v Version) String() string {
	return strconv.FormatUint(v.Epoch, 10) + "." + strconv.FormatUint(v.Seq, 10)
}
