package local

import (
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

// maxKey is the longest key that every store takes, in bytes.
const maxKey = 1024

// CheckWrites refuses what no store takes: too many writes, a malformed key or check, or a key that is written twice in one
// commit.
func CheckWrites(writes []store.Write) error {
	if len(writes) > store.MaxWrites {
		return fault.New(fault.Internal, "commit: %d writes are more than %d", len(writes), store.MaxWrites)
	}
	seen := make(map[string]bool, len(writes))
	for _, w := range writes {
		if w.Key == "" || len(w.Key) > maxKey || strings.HasPrefix(w.Key, "/") || strings.ContainsRune(w.Key, 0) {
			return fault.New(fault.Internal, "commit: malformed key %q", w.Key)
		}
		if w.Check && (w.Any || w.Value != nil) {
			return fault.New(fault.Internal, "commit: the check of %q has a value or no condition", w.Key)
		}
		if seen[w.Key] {
			return fault.New(fault.Internal, "commit: key %q is written twice", w.Key)
		}
		seen[w.Key] = true
	}
	return nil
}

// Allows reports whether the write's condition holds for a key at version have.
func Allows(w store.Write, have uint64) bool {
	return w.Any || w.IfVersion == have
}

// Written are the keys that a commit changes.
func Written(writes []store.Write) []string {
	var keys []string
	for _, w := range writes {
		if !w.Check {
			keys = append(keys, w.Key)
		}
	}
	return keys
}
