package tcpoffload

// How full the tables are.

// Usage counts the live entries of the engine's tables and lists. With no connection and no listener
// every field is zero.
type Usage struct {
	Conns     int // connection table, TIME-WAIT included
	Flows     int // entries of the flow table
	Listeners int
	HalfOpen  int // connections in SYN-RECEIVED that a listener counts
	TimeWait  int // TIME-WAIT queue
	Ranges    int // received beyond a hole, or reported so by a peer
	Transmit  int // transmit list
	Timers    int // connections that the timer wheel looks at
}

// Usage counts what is in use. It walks the tables: it is for diagnosis and tests, not for the data path.
func (e *Engine) Usage() Usage {
	r := e.root
	u := Usage{
		Conns:  int(r.liveConns),
		Ranges: int(r.freshRange - 1 - r.freedRanges),
	}
	for _, i := range e.bucket {
		for ; i != 0; i = e.conns[i].hashNext {
			u.Flows++
		}
	}
	for i := uint32(1); i < r.freshListen; i++ {
		if l := &e.lsts[i]; l.used {
			u.Listeners++
			u.HalfOpen += int(l.halfOpen)
		}
	}
	for i := r.twHead; i != 0; i = e.conns[i].lnkNext {
		u.TimeWait++
	}
	for i := r.txHead; i != 0; i = e.conns[i].txNext {
		u.Transmit++
	}
	for _, i := range e.wheel {
		for ; i != 0; i = e.conns[i].wheelNext {
			u.Timers++
		}
	}
	return u
}
