// Package local is what drivers share that run nodes on the machine of the agent, each node in a folder of its own.
package local
