//go:build race

package embedded

// raceDetector slows everything down: what has a limit on time is measured without it.
const raceDetector = true
