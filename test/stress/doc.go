// Package stress runs the built binary, its agent, its router and nodes in sandboxes for a long time under every kind of client's
// load, and wants nothing lost: three apps, without TLS, with it, and with gRPC nodes, are cut over, rolled back and upgraded, and
// nodes and agents are killed. With RELEASE_STRESS=full it is 100 cutovers under 1,000,000 requests, which takes about ten
// minutes; else a small part of it.
package stress
