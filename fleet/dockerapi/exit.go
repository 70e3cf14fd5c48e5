package dockerapi

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/human"
)

// Exit codes of a command that did not run or was killed, as shells and engines use them.
const (
	ExitNotExecutable = 126
	ExitNotFound      = 127
	ExitKilled        = 128 + int(unix.SIGKILL)
)

// ExitSignal is the signal that an exit code stands for, without SIG; "": none. Engines do not tell a signal from a code over 128; by
// the shells' rule it is the signal.
func ExitSignal(code int) string {
	if sig := code - 128; sig > 0 && sig < 65 {
		return strings.TrimPrefix(unix.SignalName(unix.Signal(sig)), "SIG")
	}
	return ""
}

// ExitReason is why a command ended as far as its exit code tells, for people; "" when the code says all. A command that could not be
// run has only its code: the engine started its own init, which then did not find it. memory is the most bytes that it could have, 0
// for all there are.
func ExitReason(code int, command string, memory int64) string {
	switch {
	case code == ExitKilled && memory > 0: // nobody says which: an engine forgets the kernel's word when that comes after the end
		return "killed by somebody, or out of memory: it may have " + human.Size(memory)
	case code == ExitNotFound:
		return fmt.Sprintf("exit code %d: as a rule %s, or a program it runs, is missing in the image; see the log", code, command)
	case code == ExitNotExecutable:
		return fmt.Sprintf("exit code %d: as a rule %s, or a program it runs, may not be executed; see the log", code, command)
	}
	return ""
}
