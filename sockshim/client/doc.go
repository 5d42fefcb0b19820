// Package client gives Go programs offloaded sockets: net.Conn and net.Listener over the ABI of
// sockshim/shm. Go programs do not call libc, so the preload library cannot serve them.
//
// A [Client] has one control connection with its region at a time. Under every offloaded socket lies a real
// kernel socket, the placeholder, which owns the port and whose end tells toed that the process is
// gone. What the TOE does not take, for whatever reason, is an ordinary kernel socket: DialContext
// and Listen return that, so a program need not know.
//
// When toed ends, its connections are reset, listeners go on with what the kernel accepts, and new
// sockets are the kernel's. A goroutine looks for another toed, at most once a second, and brings the
// listeners to it. What a session had open, its descriptors included, is given back with the client.
//
// Another goroutine waits for the region's event queue through the runtime's poller and
// wakes the goroutines whose sockets have news. Reads and writes that can go on make no system
// call but the wake-up of a sleeping worker.
//
// A Conn may be used by several goroutines; Close may race with everything. Descriptors are not
// shared with other processes: there is no fork in Go.
package client
