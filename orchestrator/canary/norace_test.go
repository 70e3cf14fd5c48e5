//go:build !race

package canary

// fewer divides the number of simulated runs.
const fewer = 1
