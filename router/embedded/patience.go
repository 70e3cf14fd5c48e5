package embedded

import "time"

// readHeadTimeout is for the whole head of a request.
const readHeadTimeout = 10 * time.Second

// patience is how long the engine waits for what others do. The times are no settings: they are far from what a client or
// node in order needs. Tests shorten them.
type patience struct {
	// handshake is for a PROXY protocol header, and then for TLS; head for the head of a request.
	handshake, head time.Duration
	// stall ends a transfer in which nothing moves.
	stall time.Duration
	// silent ends an answer in whose middle its node says nothing. Streams may be silent.
	silent time.Duration
	// goOn is how long a node may take to say "100 Continue" before the body is sent all the same.
	goOn time.Duration
	// broken is how long a node that takes no more of a body may take to say why.
	broken time.Duration
	// pump is how long a body that has been answered already may stand still before its sending ends.
	pump time.Duration
	// close is how long the two ends of a tunnel may take to finish after they were asked to.
	close time.Duration
	// linger is how long a client is listened to that sends more than its answer needed.
	linger time.Duration
	// gone is how long a request waits, from its beginning and from the end of its body, before it is looked whether its client is
	// still there.
	gone time.Duration
	// ping is how long a connection over h2c may bring nothing until the node is asked whether it is still there, and pong how long
	// it may take to answer: nothing else ends a silent gRPC stream of a node that hangs. Servers of gRPC take pings that come
	// sooner than 5 minutes after another one for an attack, and close the connection with all its streams.
	ping, pong time.Duration
}

func newPatience() patience {
	return patience{
		handshake: 10 * time.Second, head: readHeadTimeout, stall: time.Minute, silent: 5 * time.Minute, goOn: time.Second,
		broken: time.Second, pump: time.Second, close: 2 * time.Second, linger: time.Second, gone: time.Second,
		ping: 6 * time.Minute, pong: 15 * time.Second,
	}
}
