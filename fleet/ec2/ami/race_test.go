//go:build race

package ami

const raceDetector = true
