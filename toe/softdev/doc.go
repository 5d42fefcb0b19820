// Package softdev is the software TOE device: worker threads that carry TCP connections with the
// engine of package tcpoffload over the queues of a few ports.
//
// The model: one worker is one locked (and, if wanted, pinned) OS thread with one queue pair of
// every port and one engine with its own connection table; workers share nothing. A connection
// belongs to the port that has its local address (route.go), and its frames pass through that
// port's lane of its worker (lane.go). A worker runs one loop, and every iteration has the same
// shape (worker.go):
//
//	read the clock once
//	run functions posted by other threads          mailbox.go
//	up.Poll: the socket layer drains its clients,
//	  calling Connect, Output, Received, ...       calls.go
//	receive a burst: taps, parse, engine.Arrive    receive.go
//	  (SYNs of a flood are dropped before that)    syngate.go
//	  (what is not ours goes to the kernel, where
//	  it shares the port; and a burst of its own)  kernel.go
//	carry out the engine's actions as upcalls      actions.go
//	engine.Expire: timers
//	engine.Transmit: build frames, taps, send      transmit.go
//
// An iteration without work is idle. In adaptive mode a worker that has been idle for a while
// sleeps until a frame, a client, a posted function or a timer wants it (sleep.go).
//
// Invariants: the engine sees one instant per iteration; the space for a segment's payload is
// reserved before the engine sees the segment, so what the engine acknowledges is in place; a
// received frame dies with its iteration; no upcall is made from inside a call; every frame or
// segment that is dropped is counted under one name. On the data path nothing is allocated, no
// lock is taken and no system call is made by this package.
//
// Not here: TCP itself (tcpoffload), header formats (tcpoffload/wire), addresses, next hops, ARP
// and ICMP (ports), drivers (pmd, plugged in through ports.Queue), programs (sockshim).
package softdev
