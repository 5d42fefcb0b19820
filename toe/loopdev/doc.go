// Package loopdev is a TOE device in memory: connections between the sockets of its own upper
// layer, without a wire. It has its own addresses, which nobody else knows.
//
// It proves that nothing above the device interface depends on what is below, and lets the socket
// layer and the shim be tested without DPDK, interfaces or privileges. It moves real bytes, honours
// the reader's buffer limit, and ends connections as TCP does (FIN, RST, half-close, a reset for
// data that nobody will read). It has no sequence numbers, no loss and no timers.
//
// A worker, a locked OS thread, has both ends of its connections; no lock guards them.
package loopdev
