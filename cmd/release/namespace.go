package main

import (
	"os"

	"github.com/bootandshoot/release/sandbox"
)

// enterNamespace runs an ordinary user's command line again where it has all the ids that the user may use. It is done
// in the outer process, which then ends with the inner one's exit code; as root, and inside, it does nothing.
func (c *cli) enterNamespace() (done bool, err error) {
	entered, code, err := sandbox.EnterUserNamespace(os.Args[1:])
	if err != nil || !entered {
		return false, err
	}
	return true, exitStatus(code)
}
