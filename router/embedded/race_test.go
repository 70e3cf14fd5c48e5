//go:build race

package embedded

// raceDetector slows everything down; limits on time do not hold.
const raceDetector = true
