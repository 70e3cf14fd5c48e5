package certs

import (
	"fmt"
	"slices"
	"strings"
)

// Problems says what is wrong with the certificates of each listen address in the set in use, for a person to act on: what does
// not load, has expired or soon will, is for other hosts, or cannot be got. Addresses where all is well are missing.
func (m *Manager) Problems() map[string]string {
	now, s := m.now(), m.current.Load()
	out := map[string]string{}
	for address, l := range s.listens {
		var list []string
		for _, source := range l.sources {
			list = append(list, source.problems(now)...)
			if c, ok := source.(*pair); ok {
				if wrong := c.uncovered(l.hosts[c]); len(wrong) > 0 {
					list = append(list, fmt.Sprintf("certificate %s is not for %s", c.names.cert, strings.Join(wrong, ", ")))
				}
			}
		}
		list = append(list, l.lost...)
		if l.clients != nil {
			list = append(list, l.clients.problems(now)...)
		}
		if len(list) > 0 {
			slices.Sort(list)
			out[address] = strings.Join(slices.Compact(list), "; ")
		}
	}
	return out
}
