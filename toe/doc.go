// Package toe is the vendor-neutral half of the TOE: what a device is, what a socket layer is, and
// the registry that brings the two together.
//
// A [Device] carries TCP connections; it knows frames and segments and nothing about programs. A
// [SocketLayer] knows programs and their sockets and nothing about frames. The [Registry] holds
// both, activates a device by attaching the socket layer's [UpperLayer] to it, and answers the two
// questions that name no device: who carries this active open ([Registry.Route]), and where does
// this listener listen ([Registry.ListenStart]: on every active device that has its address, and
// on devices that become active later).
//
// Invariants: a device is active at most once and has at most one upper layer; a listener's ID is
// the same on every device and never used twice; every refusal has a [Reason] and is counted.
//
// A [Tap] is the sniffers' seat on a device: every frame, both directions, in wire order.
//
// Not here: TCP (package tcpoffload), packets (tcpoffload/wire), ports and next hops (ports),
// shared memory and programs (sockshim).
package toe
