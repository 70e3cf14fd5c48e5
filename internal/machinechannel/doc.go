// Package machinechannel is how the machine of an agent and a machine that it runs speak with each other, over lines that no network has:
// virtio's serial ports.
//
// # The ports
//
//	release.log       the machine's output, lines as fleet.Logger has them
//	release.exit      one Exit as JSON, when the services have ended
//	release.control   questions and commands: SSH without keys, since only who runs the machine has the other end
//
// # The control line
//
// A serial line has no connections: whoever comes next would read what was meant for the one before. So the caller begins with a mark
// and 16 random bytes. The machine ends whatever was under way, answers with the same, and from there on both sides speak SSH, where each
// session runs one command. Its command line is a JSON list of strings. A session with the request "copy@release", with a path as its payload,
// sends that file or folder as a tar stream instead, and says on its error output what went wrong. The global request "stop@release", with the name of a signal as
// its payload, asks the services to end.
package machinechannel

import "time"

// Names of the ports.
const (
	LogPort     = "release.log"
	ExitPort    = "release.exit"
	ControlPort = "release.control"
)

// Exit is how the services of a machine ended.
type Exit struct {
	Code   int       `json:"code"`             // exit code, or 128 + signal
	Signal string    `json:"signal,omitempty"` // name without SIG, if a signal ended it
	Reason string    `json:"reason,omitempty"` // for people
	At     time.Time `json:"at"`
}

const (
	stopRequest   = "stop@release"
	copyRequest   = "copy@release"
	resizeRequest = "window-change" // RFC 4254 section 6.7
)

// markSize is the length of the mark, and of the random bytes behind it.
const markSize = 16

// mark begins a connection. It is random, so that nothing else has it.
var mark = [markSize]byte{0x9e, 0x41, 0xd7, 0x03, 0xf2, 0x6b, 0xc8, 0x15, 0x5a, 0xe0, 0x77, 0x2c, 0xb9, 0x84, 0x36, 0xad}
