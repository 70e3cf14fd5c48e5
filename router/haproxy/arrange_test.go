package haproxy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bootandshoot/release/router"
)

// world is a worker in memory that obeys what moves say.
type world struct {
	layout layout
}

// anyTable draws a table of some routes, fleets and nodes; few of each, so that they come back.
func anyTable(t *rapid.T) router.Table {
	table := router.Table{Schema: router.Schema}
	for r := range rapid.IntRange(1, 2).Draw(t, "routes") {
		route := router.Route{Name: fmt.Sprintf("app%d/production/web", r), Listen: fmt.Sprintf("127.0.0.1:%d", 8000+r)}
		for f := range rapid.IntRange(0, 6).Draw(t, "fleets") {
			if rapid.Bool().Draw(t, "gone") {
				continue
			}
			fleet := router.Fleet{ID: fmt.Sprintf("app%d/production/web/r%d/1", r, f), Release: fmt.Sprintf("r%d", f), Weight: rapid.IntRange(0, 100).Draw(t, "weight"),
				Standby: rapid.Bool().Draw(t, "standby")}
			for n := range rapid.IntRange(0, 9).Draw(t, "nodes") {
				if rapid.Bool().Draw(t, "away") {
					continue
				}
				fleet.Nodes = append(fleet.Nodes, router.Node{Name: fmt.Sprintf("n%d", n), Address: fmt.Sprintf("10.%d.%d.%d:80", r, f, n)})
			}
			route.Fleets = append(route.Fleets, fleet)
		}
		table.Routes = append(table.Routes, route)
	}
	return table.Canonical()
}

// reload makes the world what a new configuration says.
func (w *world) reload(p *plan) {
	l := newLayout()
	for _, pr := range p.routes {
		for k := range pr.slots {
			backend := slotName(pr.id, 1<<k)
			l.backends[backend] = row{proxy: backend}
			for i := range pr.capacity {
				l.servers[backend] = append(l.servers[backend], row{proxy: backend, server: fmt.Sprintf("s%d", i+1), address: "127.0.0.1:1", status: "MAINT"})
			}
		}
		l.backends[noneName(pr.id)] = row{}
		for _, f := range pr.fleets {
			for _, a := range f.servers {
				s := w.find(&l, slotName(pr.id, f.slot), a.server)
				s.address, s.status = a.node.Address, "UP"
			}
		}
	}
	w.layout = l
}

func (w *world) find(l *layout, backend, server string) *row {
	for i := range l.servers[backend] {
		if l.servers[backend][i].server == server {
			return &l.servers[backend][i]
		}
	}
	return nil
}

// obey runs a command of moves.
func (w *world) obey(t *rapid.T, command string) {
	f := strings.Fields(command)
	if f[0] == "clear" {
		return
	}
	backend, server, _ := strings.Cut(f[2], "/")
	s := w.find(&w.layout, backend, server)
	switch {
	case f[0] == "add":
		if s != nil || w.layout.backends[backend].proxy == "" {
			t.Fatalf("%s: it is there already, or its backend is not", command)
		}
		w.layout.servers[backend] = append(w.layout.servers[backend], row{proxy: backend, server: server, address: f[3], status: "MAINT"})
	case s == nil:
		t.Fatalf("%s: no such server", command)
	case f[0] == "set" && f[3] == "addr":
		if s.status != "MAINT" || s.current > 0 {
			t.Fatalf("%s: another node comes into a server that is in use: %+v", command, *s)
		}
		s.address = f[4] + ":" + f[6]
	case f[0] == "set" && f[3] == "state":
		s.status = map[string]string{"ready": "UP", "drain": "DRAIN", "maint": "MAINT"}[f[4]]
	}
}

// TestArrange: after any tables in a row, with requests still under way at nodes that left, every node of the table serves in
// exactly one server of its fleet's slot, nobody else serves, and nobody who stays has moved.
func TestArrange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{layout: newLayout()}
		before := map[string]string{}
		for step := range rapid.IntRange(1, 8).Draw(t, "steps") {
			table := anyTable(t)
			table.Version.Seq = uint64(step + 1)
			p := arrange(&w.layout, table)
			if !p.fits() {
				fresh := p.anew()
				w.reload(fresh)
				w.layout.notes = notesOf(t, fresh, kept{})
				before = map[string]string{}
				p = arrange(&w.layout, table)
				if !p.fits() || !p.moves(&w.layout, true).none() {
					t.Fatalf("after a reload there is something to do: %+v", p.moves(&w.layout, true))
				}
			}
			keep := p.keep(&w.layout)
			m := p.moves(&w.layout, true)
			for _, c := range append(slices.Clone(m.bring), m.send...) {
				w.obey(t, c)
			}
			w.layout.notes = notesOf(t, p, keep)
			now := w.check(t, p)
			for who, where := range now {
				if was := before[who]; was != "" && was != where {
					t.Fatalf("%s moved from %s to %s", who, was, where)
				}
			}
			if again := arrange(&w.layout, table).moves(&w.layout, true); !again.none() {
				t.Fatalf("done, and there is more to do: %+v", again)
			}
			before = now
			w.live(t)
		}
	})
}

// live lets time go by: requests come and end, drained servers go out of service.
func (w *world) live(t *rapid.T) {
	for _, backend := range slices.Sorted(maps.Keys(w.layout.servers)) {
		for i := range w.layout.servers[backend] {
			s := &w.layout.servers[backend][i]
			s.current = 0
			if s.status != "MAINT" {
				s.current = rapid.IntRange(0, 1).Draw(t, "under way")
				s.count.total += uint64(s.current)
			}
			if s.status == "DRAIN" && s.current == 0 {
				s.status = "MAINT"
			}
			s.quiet = time.Duration(rapid.IntRange(0, 10).Draw(t, "quiet")) * time.Second
		}
	}
}

// check finds each node's server, by fleet and node.
func (w *world) check(t *rapid.T, p *plan) map[string]string {
	at := map[string]string{}
	for backend, servers := range w.layout.servers {
		for _, s := range servers {
			if s.left() {
				continue
			}
			if at[s.address] != "" {
				t.Fatalf("%s serves twice", s.address)
			}
			at[s.address] = backend + "/" + s.server
		}
	}
	found := map[string]string{}
	for _, pr := range p.routes {
		slots := map[int]bool{}
		for _, f := range pr.fleets {
			if slots[f.slot] {
				t.Fatalf("two fleets in slot %d", f.slot)
			}
			slots[f.slot] = true
			for _, n := range f.fleet.Nodes {
				where := at[n.Address]
				if !strings.HasPrefix(where, slotName(pr.id, f.slot)+"/") {
					t.Fatalf("%s of %s is in %q, want slot %d", n.Name, f.fleet.ID, where, f.slot)
				}
				found[f.fleet.ID+" "+n.Address] = where
				delete(at, n.Address)
				if tenant := w.layout.notes.tenants[where]; tenant.Node != n.Name || tenant.Fleet != f.fleet.ID || tenant.Address != n.Address {
					t.Fatalf("%s is noted as %+v", n.Name, tenant)
				}
			}
		}
	}
	if len(at) > 0 {
		t.Fatalf("nodes outside of the table serve: %v", at)
	}
	return found
}

// notesOf goes the way that notes go: through a map's text.
func notesOf(t *rapid.T, p *plan, k kept) notes {
	packed, err := pack(p.table)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for line := range strings.Lines(mapText(p.decide(packed, k))) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if _, twice := lines[key]; twice {
			t.Fatalf("key %q is in the map twice", key)
		}
		lines[key] = value
	}
	n, err := readNotes(lines)
	if err != nil {
		t.Fatal(err)
	}
	back, err := n.table()
	if err != nil {
		t.Fatal(err)
	}
	a, _ := back.Encode()
	b, _ := p.table.Encode()
	if string(a) != string(b) || n.version != p.table.Version {
		t.Fatalf("the table came back as\n%s\nwant\n%s", a, b)
	}
	return n
}

// TestSplit: the bounds rise to the whole, each share is exact, and only fleets with nodes have one.
func TestSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := anyTable(t)
		l := newLayout()
		for _, pr := range arrange(&l, table).anew().routes {
			list, weights := pr.weighted()
			entries := pr.split()
			if len(list) == 0 {
				if len(entries) > 0 {
					t.Fatalf("nobody can serve, and the split is %v", entries)
				}
				continue
			}
			var total, sum int
			for _, w := range weights {
				total += w
			}
			f := strings.Split(entries[0].value, ":")
			for i, s := range list {
				sum += weights[i]
				bound, _ := strconv.Atoi(f[2*i])
				if want := int(uint64(sum) * shares / uint64(total)); bound != want || f[2*i+1] != strconv.Itoa(s.slot) || len(s.servers) == 0 {
					t.Fatalf("split %v of %v", entries, weights)
				}
			}
			if f[len(f)-2] != strconv.Itoa(shares) {
				t.Fatalf("split %v leaves some requests to nobody", entries)
			}
		}
	})
}

// TestPositions: of any requests in a row each fleet gets its share within a few.
func TestPositions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, count, share := rapid.IntRange(0, 1<<40).Draw(t, "from"), rapid.IntRange(1, 20000).Draw(t, "count"), rapid.IntRange(0, 100).Draw(t, "share")
		got := 0
		for n := from; n < from+count; n++ {
			if (n&(shares-1))*golden&(shares-1) < share*shares/100 {
				got++
			}
		}
		if d := got - count*share/100; d < -12 || d > 12 {
			t.Fatalf("%d %% of %d requests from the %d-th on are %d", share, count, from, got)
		}
	})
}

// TestPrefer: a fleet whose weight grows takes groups of clients from others, and no other group moves.
func TestPrefer(t *testing.T) {
	seeds := []uint64{mix(1), mix(2), mix(3)}
	for _, weights := range [][]int{{90, 10, 0}, {50, 50, 20}, {1, 1, 98}} {
		grown := slices.Clone(weights)
		grown[1] += 40
		moved, share := 0, 0
		for g := range uint64(groups) {
			before, after := prefer(weights, seeds, g), prefer(grown, seeds, g)
			if before != after {
				moved++
				if after != 1 {
					t.Fatalf("group %d moved from %d to %d when 1 grew", g, before, after)
				}
			}
			if after == 1 {
				share++
			}
		}
		want := float64(grown[1]) / float64(grown[0]+grown[1]+grown[2])
		if got := float64(share) / groups; got < want-0.03 || got > want+0.03 || moved == 0 {
			t.Errorf("weights %v: %.3f of the groups, want %.3f; %d moved", grown, got, want, moved)
		}
	}
}

func TestSubsequence(t *testing.T) {
	for _, tt := range []struct {
		want, have string
		at         []int
		ok         bool
	}{
		{"", "", nil, true}, {"", "ab", nil, true}, {"a", "ab", []int{0}, true}, {"b", "ab", []int{1}, true},
		{"ab", "ab", []int{0, 1}, true}, {"ba", "ab", nil, false}, {"aa", "ab", nil, false}, {"aa", "aba", []int{0, 2}, true}, {"c", "ab", nil, false},
	} {
		at, ok := subsequence(strings.Split(tt.want, "")[:len(tt.want)], strings.Split(tt.have, ""))
		if ok != tt.ok || ok && !slices.Equal(at, tt.at) {
			t.Errorf("%q in %q: %v %v, want %v %v", tt.want, tt.have, at, ok, tt.at, tt.ok)
		}
	}
}
