//go:build race

package canary

// fewer divides the number of simulated runs: the race detector makes them ten times as slow, and there is one goroutine to watch.
const fewer = 20
