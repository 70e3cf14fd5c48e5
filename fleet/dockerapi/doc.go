// Package dockerapi is what the drivers of Docker engines share: how an engine is reached and its errors are classed, how its streams of
// output are read, which labels and bounds a node has, and how it ended. It knows no driver.
package dockerapi
