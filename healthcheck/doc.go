// Package healthcheck asks nodes whether they are well and turns the answers into a verdict.
//
// Probe says how to ask (HTTP, TCP, gRPC health, a command in the node). Gate is the pure function from answers and
// time to a verdict. Prober asks many nodes, spread over the interval, with a bounded number of goroutines, and reports
// changes of verdict only.
package healthcheck
