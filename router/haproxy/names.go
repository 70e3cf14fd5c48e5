package haproxy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/router"
)

const (
	// prefix begins the name of every proxy of ours.
	prefix = "release:"
	// spillServer is the last resort of every slot: it leads to a node of another fleet.
	spillServer = "spill"
	// noneSlot answers what no node can take.
	noneSlot = "none"
	// readable is how much of a route's name its id shows.
	readable = 60
	// added begins the names of servers that were added at run time.
	added = "d"
)

// routeID is the route's name and a hash of all about it that only a reload can change, but for the conditions of its rules.
func routeID(r *router.Route) string {
	fixed := struct {
		Name, Protocol, Listen, Nodes string
		Preview                       router.Preview
		Trusted                       []string
		Proxied                       bool
		Sticky                        *router.Sticky
		Balance                       router.Balance
	}{r.Name, string(r.Protocol), r.Listen, r.Nodes, r.Preview, r.Trusted, r.ProxyProtocol, r.Sticky, r.Balance}
	fixed.Balance.EjectAfter = 0 // not obeyed here
	b, _ := json.Marshal(fixed)  // strings and numbers only
	return legible(r.Name, readable) + ":" + digest(b, 10)
}

// slotName is the backend of a slot.
func slotName(route string, slot int) string { return prefix + route + ":" + strconv.Itoa(slot) }

// noneName is the backend of requests that no fleet can take.
func noneName(route string) string { return prefix + route + ":" + noneSlot }

// listenID stands for a listen address in the map.
func listenID(listen string) string { return digest([]byte(listen), 8) }

// tagOf stands for a fleet in sticky cookies.
func tagOf(fleet string) string { return digest([]byte(fleet), 12) }

func digest(b []byte, n int) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])[:n]
}

// legible is text as part of a proxy's name.
func legible(text string, most int) string {
	name := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
			return c
		case c == '/' || c == ':':
			return ':'
		}
		return '_'
	}, text)
	return name[:min(len(name), most)]
}

// quote makes text one word of the configuration that means itself.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// formatted is text inside a log format: a percent sign begins a variable there.
func formatted(text string) string { return strings.ReplaceAll(text, "%", "%%") }
