package local

import (
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

// maxKey is the longest key that every store takes, in bytes.
const maxKey = 1024

// CheckWrites refuses what no store takes: a malformed key, or a key that is written twice in one commit.
func CheckWrites(writes []store.Write) error {
	seen := make(map[string]bool, len(writes))
	for _, w := range writes {
		if w.Key == "" || len(w.Key) > maxKey || strings.HasPrefix(w.Key, "/") || strings.ContainsRune(w.Key, 0) {
			return fault.New(fault.Internal, "commit: malformed key %q", w.Key)
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
