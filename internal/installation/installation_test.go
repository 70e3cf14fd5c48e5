package installation

import (
	"strings"
	"testing"
)

func TestValid(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "shop-1": true, strings.Repeat("a", 40): true,
		"": false, "-a": false, "a-": false, "a--b": false, "Shop": false, "a_b": false, "a\n": false, strings.Repeat("a", 41): false,
	} {
		if Valid(id) != want {
			t.Errorf("%q is valid: %v", id, !want)
		}
	}
}
