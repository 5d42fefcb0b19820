// Package sim is test support for the TCP engine: engines on a virtual clock, joined by links that
// lose, delay, duplicate and reorder as a seed says. The same seed gives the same run on every
// machine.
//
// A [World] owns the clock, the generator and the event queue. [Host] stands for the owner of an
// engine: it carries out actions and checks them as it goes. Octets are never copied: the octet at
// position p of a send stream has to be placed at position p of the peer's receive stream, so
// positions are the content, and a checker sees a wrong one at once.
//
// What is checked, always: placement (stream equality), readable only what was placed, acknowledged
// only what was sent, ends in order, and no stall: while connections are unfinished there is an
// event to wait for, and a bound on virtual time.
//
// Not here: frames and checksums (see wire), threads, real time.
package sim
