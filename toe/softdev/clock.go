package softdev

import (
	"time"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/vtime"
)

// clock tells the present instant. Tests replace it.
type clock func() vtime.Time

// monotonic returns a clock that reads CLOCK_MONOTONIC, the clock of the kernel's packet
// timestamps' steady sibling, without a system call: the Go runtime reads it in user space, and
// the offset between the two scales is taken once.
func monotonic() (clock, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return nil, err
	}
	start := time.Now()
	origin := vtime.Time(ts.Nano())
	return func() vtime.Time { return origin.Add(vtime.Duration(time.Since(start))) }, nil
}
