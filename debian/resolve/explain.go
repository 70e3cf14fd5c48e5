package resolve

import (
	"github.com/bootandshoot/release/internal/fault"
)

func (u *Universe) unknown(w Want) *fault.Error {
	return fault.New(fault.Invalid, "resolve package %s: unknown", w)
}
func (u *Universe) pinnedAway(w Want, n *node) *fault.Error    { return u.unknown(w) }
func (u *Universe) noSuchVersion(w Want, n *node) *fault.Error { return u.unknown(w) }
func search(u *Universe, installed []*version, r Request, g []goal) (*plan, error) {
	return nil, fault.New(fault.Invalid, "search")
}
