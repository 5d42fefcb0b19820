// Package sim is test support for the TCP engine: engines on a virtual clock, joined by links that
// lose, delay, duplicate, reorder, damage and mark as a seed says. The same seed gives the same run on
// every machine.
//
// A [World] owns the clock, the generator and the event queue. [Host] stands for the owner of an
// engine: it carries out actions and checks them as it goes. [Link] is one direction of a link, and
// hosts are joined in pairs, stars and dumbbells. Octets are usually not copied: the octet at position p
// of a send stream has to be placed at position p of the peer's receive stream, so positions are the
// content. With [World.Wire] every packet passes through its frame, payload and checksums included.
//
// A [Scenario] is a whole world drawn from a seed: hosts and their settings, links and what goes wrong
// with them, connections and their programs, faulty clients, attackers, a reference peer
// ([RefPeer], an independent TCP without options) and hostile ones ([Hostile]). What a seed may draw is
// a set of features, each with a generator of its own, so that a failure is shrunk by leaving features out.
//
// What is checked, always: placement (stream equality, by incarnation), readable only what was placed,
// acknowledged only what was sent, ends in order and told once, budgets kept, every segment counted once
// and every drop by one reason, no silence while there is work, no storm of packets without progress. In
// scenarios also: honest connections end in order whatever others do, and every table is empty in the end.
//
// To look at a seed: make sim SEED=k, or go test ./tcpoffload/sim -tags invariants -run 'TestSim$' -v
// -seed=k -only=features -pcap=file. Seeds that failed once are kept in testdata/seeds.txt.
//
// Not here: threads, real time, sockets (see sim/socket).
package sim
