// Package xdp leaves a network interface to the kernel and takes from it only what is the TOE's: it
// attaches an XDP program that redirects the TCP segments of offloaded listeners and connections to the
// AF_XDP sockets of the interface's queues, and lets everything else pass.
//
// The program decides by what the kernel has and by what the TOE has, in this order: a kernel socket in
// a connection gets its segments; another segment goes to the TOE if it has connections with that local
// port, or listens there (an ACK may bring back a SYN cookie); all else is the kernel's. The TOE's side of it is two tables in memory that the program and the process
// share, so that a connection begins and ends without a system call.
//
// What the workers do not know after all, Inject gives back.
//
// Invariants: the program is attached by a link, which goes with the process, so that an interface whose
// toed has died is the kernel's alone; only segments for the interface's own hardware address and
// addresses are redirected; the program has no loop that a frame controls.
//
// Not here: the AF_XDP sockets (the poll-mode driver opens them), the addresses (the port follows the
// kernel's).
package xdp

//go:generate ./generate.sh
