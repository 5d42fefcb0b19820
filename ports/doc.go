// Package ports is ports, neighbour and route tables, the built-in responder, the exception path to the
// kernel and the mirror port.
//
// A [Port] is one Ethernet interface of the TOE: its addresses, its routes and the L2 table of its
// neighbours. Workers share it. A [Host] is one worker's hand on it: what the worker asks for next
// hops, and what answers ARP, neighbour discovery and echo requests on a port that the kernel does
// not see.
//
// Next hops are referred to by index, so that a change of a neighbour's address rewrites one entry
// and not every connection. An index names an entry of the L2 table and its generation; when the
// entry has meanwhile been given to another neighbour, the frame's own destination finds the new
// one, so an old index is never wrong, only slower. An entry is one 64-bit word (hardware address,
// state, generation) that workers load and compare-and-swap: whichever worker sees the reply, all
// know the neighbour. The states are the kernel's (RFC 4861 §7.3.2 and INCOMPLETE, FAILED,
// PERMANENT).
//
// What a port is, its addresses, routes, MTU and Ethernet address, is one [View], which workers read
// through an atomic pointer and which is replaced as a whole. Where the kernel sees the port it is the
// kernel's interface, and the kernel ([ControlPlane], package rtnl) resolves neighbours and answers for
// routes that the view has not.
//
// A [TAP] is the kernel's interface on a wire that a driver owns: frames that the TOE does not take go up,
// and what the kernel sends comes down, by bounded rings between a worker and goroutines that do the
// system calls ([KernelEnd]). It loses the kernel's frames rather than the worker's time, and counts them.
//
// A [Mirror] is a sniffer (toe.Tap): frames go through a bounded ring to a goroutine that filters
// them and writes them to pcapng streams or an interface. It loses frames rather than time, and
// counts them.
//
// Invariants: nothing here allocates or blocks on a worker, except that a next hop never seen
// before takes a mutex; every table and queue has its limit in limits.go; every frame that is not
// answered or not sent is counted under a name.
//
// Not here: duplicate address detection, router discovery and MLD (addresses and routes are
// configured, or the kernel's), IP reassembly.
package ports
