// Package h2spec names the conformance tests of HTTP/2 servers, which a test builds to hold the router against. They are a
// command, so that go.mod lists it as a tool: no package of it needs to be imported.
package h2spec
