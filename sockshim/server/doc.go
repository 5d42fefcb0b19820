// Package server serves shared-memory clients by calling a toe.Device: it is the socket layer of
// toed, after Chelsio's TCP offload module (TOM).
//
// A client process connects to the control socket, says HELLO and gets a region: a memory file
// with command queues, event queues, socket slots and chunks for their byte streams (see
// sockshim/shm). From then on it talks to the device's workers through the region alone; the
// control socket is for what is rare.
//
// Threads. A [layer] is the upper layer of one attached device. Each of its workers has a *share*
// of every region: its own command queue, slots and chunks. Everything in a share, a sock or a
// worker belongs to the worker's thread; control goroutines reach it by Device.Do and Post. The
// data path takes no lock, allocates nothing, and makes a system call only to wake somebody who
// declared that he sleeps.
//
// Trust. A client can write every octet of its region. What the server has to rely on it keeps in
// [sock] and in shm.Pool: cursors, directory references, who uses which chunk. Values from the
// region are loaded once, checked against these, and a breach of the contract is a *violation*:
// counted by name, and the end of that region. A client can so harm the streams of its own region
// (and those it shares it with), nothing else. Which port is whose says the kernel (shown.go), and how much a
// user's programs may have, the configuration (account.go).
//
// Lifetime. A socket lives as long as somebody can hold its descriptor or the device still
// delivers what was written. The client says when the last descriptor of an unshared socket
// closes; for shared ones, and for processes that die, the kernel tells (destroy.go), and if it does
// not, toed looks (recount.go). A region lives as long as a client is attached to it or a socket of
// it lives; what nobody holds any more has a limit in time and number (orphans.go).
//
// Not here: TCP, frames, and the decision where a connection may go beyond asking (toe.Registry,
// Config.Policy).
package server
