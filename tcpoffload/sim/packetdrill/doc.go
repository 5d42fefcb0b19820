// Package packetdrill runs packet scripts in packetdrill's notation against the engine, on a virtual
// clock: what a program calls, what a peer sends, and what has to leave, each at its time.
//
// [Parse] turns text into a [Script] or says where it is wrong and what was expected there. [Script.Run]
// carries it out on a [opentoe/tcpoffload/sim/socket.Host] and returns the first departure from it.
// What of packetdrill is understood, and what differs, is told in docs/PACKETSCRIPTS.md.
package packetdrill
