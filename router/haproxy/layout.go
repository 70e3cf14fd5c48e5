package haproxy

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/router"
)

// layout is what a worker's configuration has, and who is in it.
type layout struct {
	frontends map[string]bool  // ours, by name
	servers   map[string][]row // by backend, in HAProxy's order; without the spill servers
	spills    map[string]row   // the spill server of each backend
	backends  map[string]row   // totals, by name
	notes     notes
}

// tenant is the node that has a server, or had it last.
type tenant struct {
	Fleet   string    `json:"fleet"`
	Node    string    `json:"node"`
	Address string    `json:"address"`
	TCP     bool      `json:"tcp,omitempty"`
	Since   [7]uint64 `json:"since,omitzero"` // the server's counters when the node came
}

// notes is what we wrote down in a worker's map.
type notes struct {
	version    router.Version
	digest     string                    // of the table's canonical bytes; "": none
	fleets     map[string]map[int]string // by route id and slot
	conditions map[string][]string       // by route id, as JSON
	tenants    map[string]tenant         // by "BACKEND/SERVER"
	names      map[string]string         // of routes, by id
	pieces     map[int]string            // of the table
}

func newLayout() layout {
	return layout{
		frontends: map[string]bool{}, servers: map[string][]row{}, spills: map[string]row{}, backends: map[string]row{},
		notes: notes{fleets: map[string]map[int]string{}, conditions: map[string][]string{}, tenants: map[string]tenant{}, names: map[string]string{}, pieces: map[int]string{}},
	}
}

// place sorts the rows of a worker into the layout.
func (l *layout) place(rows []row) {
	for _, r := range rows {
		switch {
		case r.kind == kindFrontend:
			l.frontends[r.proxy] = true
		case r.kind == kindBackend:
			l.backends[r.proxy] = r
		case r.kind == kindServer && r.server == spillServer:
			l.spills[r.proxy] = r
		case r.kind == kindServer:
			l.servers[r.proxy] = append(l.servers[r.proxy], r)
		}
	}
}

// slots are the slots that a route has in this worker, smallest first.
func (l *layout) slots(route string) []int {
	var slots []int
	for slot := 1; ; slot *= 2 {
		if _, ok := l.backends[slotName(route, slot)]; !ok {
			return slots
		}
		slots = append(slots, slot)
	}
}

// readNotes understands the map. What it does not know is a later version's and left out.
func readNotes(lines map[string]string) (notes, error) {
	n := newLayout().notes
	for key, value := range lines {
		f := strings.Split(key, "|")
		var err error
		switch f[0] {
		case "v":
			n.version, n.digest, err = parseVersion(value)
		case "t":
			err = indexed(f, 2, func(i int) { n.pieces[i] = value })
		case "a":
			err = indexed(f, 3, func(i int) {
				if n.fleets[f[1]] == nil {
					n.fleets[f[1]] = map[int]string{}
				}
				n.fleets[f[1]][i] = value
			})
		case "c":
			err = indexed(f, 3, func(i int) { n.conditions[f[1]] = grown(n.conditions[f[1]], i, value) })
		case "r":
			n.names[strings.TrimPrefix(key, "r|")] = value
		case "n":
			var t tenant
			err = json.Unmarshal([]byte(value), &t)
			n.tenants[strings.TrimPrefix(key, "n|")] = t
		}
		if err != nil {
			return notes{}, fmt.Errorf("read haproxy's map at %q: %w", key, err)
		}
	}
	return n, nil
}

// indexed gives the number at the end of a key of so many parts.
func indexed(parts []string, want int, use func(int)) error {
	if len(parts) != want {
		return fmt.Errorf("it has %d parts, want %d", len(parts), want)
	}
	i, err := strconv.Atoi(parts[want-1])
	if err != nil || i < 0 || i > 1<<20 {
		return fmt.Errorf("%q is no number for it", parts[want-1])
	}
	use(i)
	return nil
}

func grown(list []string, i int, value string) []string {
	for len(list) <= i {
		list = append(list, "")
	}
	list[i] = value
	return list
}

// parseVersion reads "EPOCH.SEQ DIGEST".
func parseVersion(text string) (v router.Version, sum string, err error) {
	number, sum, _ := strings.Cut(text, " ")
	epoch, seq, _ := strings.Cut(number, ".")
	if v.Epoch, err = strconv.ParseUint(epoch, 10, 64); err != nil {
		return v, "", err
	}
	if v.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil {
		return v, "", err
	}
	return v, sum, nil
}

// pieceSize keeps one piece of a table well below what a command may be long.
const pieceSize = 6000

// packed is a table with the entries that carry it.
type packed struct {
	table   router.Table
	entries []entry
	sum     string // digest
}

func pack(t router.Table) (*packed, error) {
	b, err := t.Encode()
	if err != nil {
		return nil, err
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(b) // a buffer takes all
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack table: %w", err)
	}
	p := &packed{table: t, sum: digest(b, 24)}
	text := base64.StdEncoding.EncodeToString(z.Bytes())
	for i := 0; len(text) > 0; i++ {
		n := min(len(text), pieceSize)
		p.entries = append(p.entries, entry{"t|" + strconv.Itoa(i), text[:n]})
		text = text[n:]
	}
	p.entries = append(p.entries, entry{"v", t.Version.String() + " " + p.sum})
	return p, nil
}

// maxTable bounds what a packed table may unpack to.
const maxTable = 64 << 20

// table unpacks the table; ErrNoTable when there is none.
func (n *notes) table() (router.Table, error) {
	if n.digest == "" {
		return router.Table{}, router.ErrNoTable
	}
	var text strings.Builder
	for _, i := range slices.Sorted(maps.Keys(n.pieces)) {
		text.WriteString(n.pieces[i])
	}
	z, err := base64.StdEncoding.DecodeString(text.String())
	if err != nil {
		return router.Table{}, fmt.Errorf("unpack table: %w", err)
	}
	r, err := gzip.NewReader(bytes.NewReader(z))
	if err != nil {
		return router.Table{}, fmt.Errorf("unpack table: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(r, maxTable))
	if err != nil {
		return router.Table{}, fmt.Errorf("unpack table: %w", err)
	}
	return router.Decode(b)
}
