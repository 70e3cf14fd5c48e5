// Package http1 reads and writes the heads of HTTP/1.1 messages and the framing of their bodies, over byte slices. It
// does no I/O, keeps no goroutine and allocates nothing for a message that it accepts: what it returns points into
// the bytes it was given.
//
// It is strict: of two readings that two programs could have of the same bytes it takes neither. Wherever RFC 9110
// and RFC 9112 leave a recipient the choice between repairing and refusing, it refuses, because a proxy that repairs
// decides what the node behind it will see. Beyond what net/http refuses, these are refused:
//
//   - a line that ends in a bare LF, anywhere; an obsolete line folding
//   - Transfer-Encoding beside Content-Length, or in HTTP/1.0; Content-Length twice, with equal values too
//   - a second Host or Upgrade field, in any position; a Host with user information, per cent signs or a bad port
//   - a framing field written with underscores (Content_Length), which CGI-like gateways take for the real one
//   - targets with a fragment or bytes outside of ASCII; "*" but for OPTIONS, and anything but host:port for CONNECT
//   - versions other than HTTP/1.0 and HTTP/1.1; white space and unquoted control bytes in chunk extensions
//
// One thing is let through that net/http refuses: a single empty line before a request (RFC 9112, 2.2).
//
// Heads that came by another protocol and go on by this one are held against the same rules by Head.Check.
//
// All readers work on a prefix of the stream: with too few bytes they return ErrMore and are called again with more.
// How a stream was cut never changes what comes out, and neither do bytes behind the message.
package http1
