package softdev

import (
	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/toe"
)

// lane is one worker's way through one port: its queue, and the frames about to leave by it. What a
// connection sends and receives stays on the lane of the port that has its local address.
type lane struct {
	id       int // the port's place in Config.Ports
	port     *ports.Port
	host     *ports.Host
	queue    ports.Queue
	kernel   ports.KernelEnd // nil: the kernel does not see the port
	judge    ports.Judge     // nil: connections bypass the packet filter
	checksum bool            // the port finishes checksums

	gate  synGate
	count PortCounters
	tx    frame.Burst // complete, about to be sent
	blank frame.Burst // empty frames for sending, taken from the end
}

func newLane(id, worker int, c *PortQueues) lane {
	l := lane{
		id: id, port: c.Port, host: c.Port.Host(worker), queue: c.Queues[worker],
		checksum: c.TxChecksum, judge: c.Judge,
	}
	if len(c.Kernel) > 0 {
		l.kernel = c.Kernel[worker]
	}
	return l
}

// A next-hop index of the engine is the port's own index below the port's number.
const (
	hopMask  = 1<<ports.HopBits - 1
	maxPorts = 1 << (32 - ports.HopBits)
)

// engineHop is the engine's index of neighbour idx of the lane's port.
func (l *lane) engineHop(idx uint32) uint32 { return uint32(l.id)<<ports.HopBits | idx }

// nowhere is the engine's index for what has no next hop at the moment: each frame looks for one.
func (l *lane) nowhere() uint32 { return l.engineHop(0) }

// leaving returns the lane that s leaves by.
func (w *worker) leaving(s *tcpoffload.TxSegment) *lane { return &w.lanes[s.NextHop>>ports.HopBits] }

// blanks fills up the stock of empty frames and returns how many there are.
func (l *lane) blanks() int {
	if room := l.blank.Room(); room > frame.MaxBurst/2 {
		l.queue.Alloc(&l.blank, room)
	}
	return l.blank.Len()
}

// makeRoom flushes when the burst to send has room for fewer than n frames.
func (w *worker) makeRoom(l *lane, n int) {
	if l.tx.Room() < n {
		w.flush(l)
	}
}

// flush shows the burst to the sniffers and sends it. What the port refuses it frees; TCP sends it
// again.
func (w *worker) flush(l *lane) {
	n := l.tx.Len()
	w.tap(l, toe.Transmit, &l.tx)
	for i := range n {
		l.count.TxOctets += uint64(len(l.tx.At(i).Data))
	}
	l.count.TxFrames += uint64(n)
	if refused := n - l.queue.Transmit(&l.tx); refused > 0 {
		l.count.TxRefused += uint64(refused)
		m := w.eng.MIB()
		l.gate.refused(w.now, m.SyncookiesSent+m.PassiveOpens+m.SynRetrans, l.count.TxOctets)
	}
}

// flushAll sends what waits on every lane.
func (w *worker) flushAll() {
	for i := range w.lanes {
		if l := &w.lanes[i]; l.tx.Len() > 0 {
			w.flush(l)
		}
	}
}
