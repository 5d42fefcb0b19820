package tcpoffload

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

const (
	wheelLevels = 6
	wheelSlots  = 64
)

type listenKey struct {
	addr wire.Addr
	port uint16
}
type caState uint8

func (e *Engine) format(cfg *Config)         { e.root.format = memoryFormat }
func (e *Engine) lookup(f *wire.Flow) uint32 { return 0 }

// Arrive processes one received segment.
func (e *Engine) Arrive(now vtime.Time, seg *Segment, out *Output) DropReason { return 0 }

// Call carries out one user call.
func (e *Engine) Call(now vtime.Time, c *Call, out *Output) CallResult { return CallInvalid }

// Expire fires the timers that are due.
func (e *Engine) Expire(now vtime.Time, out *Output) {}

// Transmit appends up to budget segments and returns how many.
func (e *Engine) Transmit(now vtime.Time, budget int, out *Output) int { return 0 }

// NextDeadline returns when Expire has to be called next.
func (e *Engine) NextDeadline() vtime.Time { return vtime.Never }

// Listening reports whether a listener answers for local:port.
func (e *Engine) Listening(local wire.Addr, port uint16) bool { return false }

// Info fills info.
func (e *Engine) Info(h Handle, now vtime.Time, info *Info) bool { return false }
