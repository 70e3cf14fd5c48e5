// Package certs holds the certificates that a router process shows: from files, which are read again when they change, and
// from a certificate authority by ACME; and the authorities whose certificates clients must show.
//
// A Manager lives as long as the process. Prepare opens what a table's routes need and changes nothing; Use makes it
// effective, begins to obtain what is missing, and lets go of what is used no more. Neither waits for a certificate authority.
//
// From files: at most once a second, and only while there are handshakes, the files are looked at. A pair that does not load
// (half written, key of another certificate) leaves the last good one in use, and says so.
//
// By ACME (certmagic): one certificate a name, by HTTP-01 where the route has a redirect listener and by TLS-ALPN-01 on the
// route's own. Both are answered on the router's listeners, the library opens none. A name without a certificate fails its
// handshakes until there is one. What fails is tried again: soon when the authority does not answer, more and more seldom when
// it refuses. Renewal, OCSP stapling and the order limits are the library's.
//
// Storage (certmagic's layout), by default a folder of mode 0700; several routers may share one, and answer each other's
// challenges:
//
//	acme/AUTHORITY/users/…              account keys
//	acme/AUTHORITY/challenge_tokens/…   challenges under way
//	certificates/AUTHORITY/NAME/…       certificate, key, and what the authority said of it
//	locks/…                             one router obtains a name at a time; a lock of a dead one is taken over
package certs
