package tcpoffload

// How full the tables are.

// Usage counts the live entries of the engine's tables and lists. With no connection and no listener
// every field is zero.
type Usage struct {
	Conns     int // connection table
	Flows     int // entries of the flow table
	Listeners int
	HalfOpen  int // SYN cache
	TimeWait  int // TIME-WAIT table
	Ranges    int // received beyond a hole
	Flights   int // entries of what is in flight
	Models    int // congestion control that models the path
	Transmit  int // transmit list
	Timers    int // connections that the timer wheel looks at
}

// Usage counts what is in use. It walks the tables: it is for diagnosis and tests, not for the data path.
func (e *Engine) Usage() Usage {
	r := e.root
	u := Usage{
		Conns:    int(r.liveConns),
		HalfOpen: e.HalfOpens(),
		TimeWait: e.TimeWaits(),
		Ranges:   int(r.freshRange - 1 - r.freedRanges),
		Flights:  int(r.freshFlight - 1 - r.freedFlights),
		Models:   int(r.liveModels),
	}
	for _, i := range e.bucket {
		for ; i != 0; i = *e.hashNext(i) {
			u.Flows++
		}
	}
	for i := uint32(1); i < r.freshListen; i++ {
		if l := &e.lsts[i]; l.used {
			u.Listeners++
		}
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
