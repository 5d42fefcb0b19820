package daemon

import (
	"context"
	"slices"
	"strings"
	"time"

	"opentoe/cmd/internal/ctl"
	"opentoe/toe"
)

// drainPoll is how often a drain looks whether it is done.
const drainPoll = 100 * time.Millisecond

// Drain stops (on) or resumes offloading. While it is on, new sockets and new connections to listeners are
// the kernel's; those that exist go on. It implements [ctl.Daemon].
func (d *Daemon) Drain(on bool) (ctl.Drain, error) {
	if d.registry.Draining() != on {
		d.log.Info("drain", "on", on)
	}
	d.registry.Drain(on)
	return d.Remaining()
}

// Remaining tells what is left on the TOE. It implements [ctl.Daemon].
func (d *Daemon) Remaining() (ctl.Drain, error) {
	r := ctl.Drain{Draining: d.registry.Draining(), Listeners: len(d.registry.Listeners()), Programs: []ctl.DrainProgram{}}
	d.eachConn(func(_ int, info *toe.ConnInfo) {
		if info.State == "TIME-WAIT" {
			r.TimeWait++
		} else {
			r.Connections++
		}
	})
	type process struct {
		program string
		pid     int
	}
	conns, left := map[process]int{}, r.Connections
	for _, s := range d.sockets.Sockets() {
		if s.Conn != nil && s.State != "TIME-WAIT" && s.PID != 0 && !s.Detached {
			conns[process{s.Program, int(s.PID)}]++
			left--
		}
	}
	if left > 0 {
		conns[process{}] = left
	}
	for p, n := range conns {
		r.Programs = append(r.Programs, ctl.DrainProgram{Program: p.program, PID: p.pid, Connections: n})
	}
	slices.SortFunc(r.Programs, func(a, b ctl.DrainProgram) int {
		if a.Connections != b.Connections {
			return b.Connections - a.Connections
		}
		return strings.Compare(a.Program, b.Program)
	})
	return r, nil
}

// Finish drains until no connection is left, for grace at most or until ctx ends, and says in the log what
// remained. Connections in TIME-WAIT have nothing to lose.
func (d *Daemon) Finish(ctx context.Context, grace time.Duration) {
	r, _ := d.Drain(true)
	d.log.Info("ending: draining first", "connections", r.Connections, "grace", grace)
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for r.Connections > 0 && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			// Counting by program holds the workers up: that is for when there is news.
			if d.hw.device.Info().Conns > 0 {
				continue
			}
		}
		r, _ = d.Remaining()
	}
	for _, p := range r.Programs {
		d.log.Warn("ends with connections", "program", p.Program, "pid", p.PID, "connections", p.Connections)
	}
}
