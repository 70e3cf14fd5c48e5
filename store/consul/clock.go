package consul

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootClock is the time since the machine was started. Nobody can set it, and it goes on while the machine sleeps, which the
// monotonic clock of package time does not.
func bootClock() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("store/consul: " + err.Error()) // Linux has it since 2.6.39
	}
	return time.Duration(t.Nano())
}
