//go:build !failpoints

package failpoint

// Pass says that the process is at a point.
func Pass(Point) {}

// Begins says that an action of a kind, such as boot, begins.
func Begins(kind string) {}

// Ends says that an action of a kind has ended, well or not.
func Ends(kind string) {}
