package server

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// Counters are what the server has counted since it was made. Every refusal and every breach of
// the contract is in exactly one of them.
type Counters struct {
	ActiveOpens  uint64 // connections that clients opened (SYN sent)
	PassiveOpens uint64 // connections handed to a listener's accept queue
	Listens      uint64
	Declined     [toe.NumReasons]uint64 // opens and listens left to the kernel
	PortsInUse   uint64                 // active opens whose 4-tuple the device has already: clients try another port

	Closes uint64 // sockets closed in order
	Aborts uint64 // sockets reset by us: SO_LINGER 0, unread data, or a client that died
	Ends   [toe.EndDeviceGone + 1]uint64

	OrphansReset uint64 // sockets reset that were closed, because their peer took nothing or their memory was wanted

	Commands        [numOps]uint64 // by TOE_OP_*
	FutexWakes      uint64
	Signals         uint64 // eventfds written
	ProcessSignals  uint64 // SIGURG and SIGIO sent
	AcceptOverflows uint64 // connections refused because nobody accepts
	NoSlots         uint64 // connections refused for want of a slot
	NoChunks        uint64 // segments left to be sent again for want of a chunk
	OverSockets     uint64 // connections refused because the listener's user has as many sockets as he may
	OverMemory      uint64 // clients turned down because their user has as much memory as he may
	ShowsAsked      uint64 // opens that clients had to show the socket for, and to ask again
	OptionsRefused  uint64 // settings that the device does not take
	Violations      [numViolations]uint64

	Clients       uint64 // control connections that said HELLO
	Turned        uint64 // control connections turned away: too many, of all or of one user
	Died          uint64 // clients that ended without BYE
	Probes        uint64 // sockets recognised in another process
	ProbesRefused uint64 // sockets recognised in a process of another user, which was refused them
	Destroyed     uint64 // sockets ended because the kernel said that their last descriptor is gone
	LostDestroys  uint64 // times that the kernel's messages about that overflowed
}

// ViolationName returns the name of element i of Counters.Violations.
func ViolationName(i int) string { return violationNames[i] }

// add adds the counters of o, which a worker or the server has.
func (c *Counters) add(o *Counters) {
	c.ActiveOpens += o.ActiveOpens
	c.PassiveOpens += o.PassiveOpens
	c.Listens += o.Listens
	c.PortsInUse += o.PortsInUse
	c.Closes += o.Closes
	c.Aborts += o.Aborts
	c.OrphansReset += o.OrphansReset
	c.FutexWakes += o.FutexWakes
	c.Signals += o.Signals
	c.ProcessSignals += o.ProcessSignals
	c.AcceptOverflows += o.AcceptOverflows
	c.NoSlots += o.NoSlots
	c.NoChunks += o.NoChunks
	c.OverSockets += o.OverSockets
	c.OverMemory += o.OverMemory
	c.ShowsAsked += o.ShowsAsked
	c.OptionsRefused += o.OptionsRefused
	c.Clients += o.Clients
	c.Turned += o.Turned
	c.Died += o.Died
	c.Probes += o.Probes
	c.ProbesRefused += o.ProbesRefused
	c.Destroyed += o.Destroyed
	c.LostDestroys += o.LostDestroys
	addAll(c.Declined[:], o.Declined[:])
	addAll(c.Ends[:], o.Ends[:])
	addAll(c.Commands[:], o.Commands[:])
	addAll(c.Violations[:], o.Violations[:])
}

func addAll(a, b []uint64) {
	for i := range a {
		a[i] += b[i]
	}
}

// Counters returns the sum over all workers, past devices included.
func (s *Server) Counters() Counters {
	s.mu.Lock()
	sum := s.stats
	l := s.layer
	s.mu.Unlock()
	if l != nil {
		for _, w := range l.workers {
			_ = l.dev.Do(w.id, func(vtime.Time) { sum.add(&w.stats) })
		}
	}
	return sum
}
