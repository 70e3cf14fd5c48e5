package strictyaml

import (
	"slices"

	"github.com/bootandshoot/release/internal/fault"
)

// Pos is a place in a file. Line and Column count from 1, columns in characters; the zero Pos is unknown.
type Pos struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// Errorf is an error of class fault.Invalid at this place.
func (p Pos) Errorf(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, format, args...).At(p.File, p.Line, p.Column)
}

// Kind is what a node holds.
type Kind int

const (
	Null Kind = iota
	Text
	Int
	Float
	Bool
	List
	Map
)

// String is the kind in words for messages.
func (k Kind) String() string {
	return [...]string{"nothing", "text", "a number", "a number", "true or false", "a list", "a mapping"}[k]
}

// Node is one value of a document and where it begins.
type Node struct {
	Pos     Pos
	Kind    Kind
	Text    string  // the scalar: the value of text, the source of anything else
	Items   []*Node // of a List
	Entries []Entry // of a Map, in source order
	Flow    bool    // a List or Map in brackets
}

// Entry is one key of a Map and its value.
type Entry struct {
	Key    string
	KeyPos Pos
	Value  *Node
}

// Get is the value of a key, or nil. A key whose value is empty counts as absent.
func (n *Node) Get(key string) *Node {
	if e := n.entry(key); e != nil && e.Value.Kind != Null {
		return e.Value
	}
	return nil
}

func (n *Node) entry(key string) *Entry {
	if n == nil || n.Kind != Map {
		return nil
	}
	for i := range n.Entries {
		if n.Entries[i].Key == key {
			return &n.Entries[i]
		}
	}
	return nil
}

// At is the value at a path of keys (string) and indexes (int), or nil.
func (n *Node) At(path ...any) *Node {
	for _, step := range path {
		if n == nil {
			return nil
		}
		n = n.child(step)
	}
	return n
}

// Locate is the place of the value at a path of keys (string) and indexes (int), or of the nearest value above it that
// exists.
func (n *Node) Locate(path ...any) Pos {
	if n == nil {
		return Pos{}
	}
	for _, step := range path {
		next := n.child(step)
		if next == nil {
			break
		}
		n = next
	}
	return n.Pos
}

func (n *Node) child(step any) *Node {
	switch s := step.(type) {
	case string:
		if e := n.entry(s); e != nil {
			return e.Value
		}
	case int:
		if n.Kind == List && s >= 0 && s < len(n.Items) {
			return n.Items[s]
		}
	}
	return nil
}

// LocateKey is the place of the last key of a path, or of the nearest value above it that exists.
func (n *Node) LocateKey(path ...any) Pos {
	if len(path) == 0 {
		return n.Locate()
	}
	parent := n
	for _, step := range path[:len(path)-1] {
		if parent = parent.child(step); parent == nil {
			return n.Locate(path...)
		}
	}
	if key, ok := path[len(path)-1].(string); ok {
		if e := parent.entry(key); e != nil {
			return e.KeyPos
		}
	}
	return n.Locate(path...)
}

// Merge lays one document over another: mappings key by key, anything else replaced whole. An empty value takes the
// key away. Neither argument is changed; the values keep their places.
func Merge(base, over *Node) *Node {
	if base == nil || over == nil || base.Kind != Map || over.Kind != Map {
		if over == nil {
			return base
		}
		return over
	}
	merged := &Node{Pos: base.Pos, Kind: Map, Flow: base.Flow, Entries: slices.Clone(base.Entries)}
	for _, e := range over.Entries {
		if old := merged.entry(e.Key); old != nil {
			old.Value = Merge(old.Value, e.Value)
		} else {
			merged.Entries = append(merged.Entries, e)
		}
	}
	return merged
}

// Without is the mapping but for some keys.
func (n *Node) Without(keys ...string) *Node {
	if n == nil || n.Kind != Map {
		return n
	}
	rest := *n
	rest.Entries = slices.DeleteFunc(slices.Clone(n.Entries), func(e Entry) bool { return slices.Contains(keys, e.Key) })
	return &rest
}
