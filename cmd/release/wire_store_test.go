package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
)

func TestAgentName(t *testing.T) {
	for name, ok := range map[string]bool{
		"web-1.example.org-k3f9": true, "A_b": true, strings.Repeat("a", 69): true,
		"../../x": false, "a/b": false, "..": false, ".a": false, "-a": false, "a b": false, "a\\n": false, strings.Repeat("a", 70): false,
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, identityFile)
		if err := os.WriteFile(path, []byte(`{"name":"`+name+`"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		have, err := agentName(dir)
		switch {
		case ok && (err != nil || have != name):
			t.Errorf("%q is read as %q: %v", name, have, err)
		case !ok && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), path) || fault.All(err)[0].Hint == ""):
			t.Errorf("%q is read as %q: %v", name, have, err)
		}
	}
}

func TestMintedNames(t *testing.T) {
	for _, host := range []string{"web-1", "Web_1.example.org", "../../x", "", "...", "my host", strings.Repeat("a", 64), "ümlaut"} {
		if name := mintName(host); !nameForm.MatchString(name) {
			t.Errorf("host %q: the agent is called %q", host, name)
		}
	}
	dir := t.TempDir()
	first, err := agentName(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := agentName(dir); err != nil || again != first {
		t.Errorf("the agent is called %q, then %q: %v", first, again, err)
	}
}
