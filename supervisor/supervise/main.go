// Command supervise is PID 1 of images with several services, or with one that is started again: it runs them by the rules
// of package supervisor. It is started as
//
//	supervise /usr/lib/release/services.json
//
// and ends with 0 after it was asked to stop, with the code of the service that the image is there for when that ended, and
// with 125 when it cannot read its file. It reaps every orphan, whoever's child it was.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"

	"github.com/bootandshoot/release/supervisor"
)

// unreadable is the exit code without a file to go by, as that of other programs that start programs.
const unreadable = 125

func main() {
	debug.SetGCPercent(20) // a small heap that hardly changes
	config, err := read(os.Args[1:])
	if err != nil {
		say(err.Error())
		os.Exit(unreadable)
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	r, err := newRunner(config)
	if err != nil {
		say(err.Error())
		os.Exit(unreadable)
	}
	os.Exit(r.run(signals))
}

func read(args []string) (supervisor.Config, error) {
	if len(args) != 1 {
		return supervisor.Config{}, fmt.Errorf("usage: supervise FILE")
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return supervisor.Config{}, fmt.Errorf("read services: %w", err)
	}
	return supervisor.Parse(data)
}

// say tells people, in one write, so that lines of services do not come between.
func say(text string) { _, _ = os.Stderr.WriteString("supervise: " + text + "\n") }
