package orchestrator

import (
	"os"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// ReadSecret reads what a reference stands for: "file:/path" is the file's content without one trailing newline,
// "env:NAME" a variable of the agent's environment. Errors name the reference, never a value.
func ReadSecret(ref string) (string, error) {
	kind, name, _ := strings.Cut(ref, ":")
	switch kind {
	case "file":
		b, err := os.ReadFile(name)
		if err != nil {
			return "", fault.New(fault.Failed, "read secret %s: %w", ref, err).
				WithHint("the agent reads it at each start of a node: it must be there and readable for the agent's user")
		}
		return strings.TrimSuffix(string(b), "\n"), nil
	case "env":
		if v, ok := os.LookupEnv(name); ok {
			return v, nil
		}
		return "", fault.New(fault.NotFound, "read secret %s: the agent's environment has no such variable", ref).
			WithHint("set it where the agent is started, and start the agent again")
	}
	return "", fault.New(fault.Invalid, "read secret %s: a reference is file:/path or env:NAME", ref)
}
