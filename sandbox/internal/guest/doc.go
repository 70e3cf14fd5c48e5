// Package guest is the inside of a sandbox: the init that builds the sandbox's root, starts the command, keeps its
// output and answers its starter, and the messages between the two. Package sandbox is the outside.
//
// The init is one more start of the whole program, as often as there are nodes, and most of such a start is the
// initialisation of packages that an init never uses. So this package starts the init from a variable's
// initialisation, which comes before that of nearly all others as long as its own imports stay few and low: no net,
// no os/exec, no os/user. That saves some 4 of 10 ms of CPU time a start. This is the one place of the project where
// importing a package may do something, and it does so only under the init's name.
package guest

import "os"

// here makes a process that was started as init never reach main.
var here = startedAsInit()

// Started says whether this process is an init: never, to whom it returns.
func Started() bool { return here }

func startedAsInit() bool {
	if len(os.Args) == 0 || os.Args[0] != InitName {
		return false
	}
	run()
	return true
}
