//go:build !race

package ec2

// every is how many calls there are from one that the process dies at to the next.
const every = 1
