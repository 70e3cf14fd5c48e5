// Package fleettest holds the conformance suite that every fleet driver passes (Run), the small server that the
// suite boots (testnode), and Fake, a driver in memory that passes the suite as well and that tests of the
// orchestrator bend as they need: nodes that die, calls that hang or fail, engines that do not answer.
package fleettest
