// Package tcpoffload is the TCP protocol engine: pure, deterministic, single-threaded.
//
// The engine is a function of its arguments. Time, received segments and user calls go in; segments
// to send and actions for the owner come out, in an [Output] that the owner drains. It moves numbers,
// not octets: an action says which octets of the arriving payload belong where in the receive
// stream, a segment says which octets of the send stream it carries. It never allocates after
// [New], starts no goroutine, reads no clock, takes no lock and does no I/O.
//
// The five entry points are the events of RFC 9293 §3.10: [Engine.Arrive] (SEGMENT ARRIVES),
// [Engine.Call] (user calls), [Engine.Expire] (timeouts, when [Engine.NextDeadline] says so), and
// [Engine.Transmit], which forms segments under a budget. Arrive answers at most one segment by
// itself; ACKs for in-order data wait for Transmit, so that a burst of segments costs one ACK.
//
// Where another stack has the same addresses, [Engine.Claims] says which segments are this one's: the
// owner hands the others on instead of having Arrive refuse them (RFC 9293 §3.10.7.1).
//
// Stream positions are 64-bit and count octets of payload from 0. Sequence numbers are [seq.Num].
//
// All state lies in the tables of [Memory], which hold no pointers and may lie in memory that
// outlives the process.
//
// # Invariants
//
// SND.UNA ≤ SND.NXT, octets sent ≤ octets queued, the advertised right edge never moves back,
// retransmission and persist timers exclude each other, the retransmission timer runs whenever
// something is in flight, a connection with work is on the transmit list, its wheel entry is not
// after its earliest deadline. The build tag invariants checks them after every step.
//
// # What is done, by RFC
//
//   - RFC 9293: all states and §3.10, except as below. §3.8.6.2 silly windows at both ends, §3.8.6.1
//     zero-window probes, §3.8.4 keepalive, §3.7.4 Nagle (as amended by Minshall), §3.8.3 R1/R2.
//   - RFC 5681, 6582, 3042: slow start, fast retransmit, NewReno, limited transmit, restart after
//     idle. RFC 6928: initial window. RFC 9438: CUBIC. RFC 8257: DCTCP.
//     draft-ietf-ccwg-bbr: BBR version 3. RFC 9406: HyStart++. RFC 7661: window validation. Pacing.
//     RFC 9937: proportional rate reduction.
//   - RFC 2018, 2883: SACK and DSACK at both ends, reneging. RFC 6675: pipe; what is lost RACK says.
//   - RFC 8985: RACK-TLP, with a probe in recovery besides (as RFC 9002 §6.2).
//   - RFC 6298: retransmission timer, with Karn's rule. RFC 5682: F-RTO, basic and with SACK.
//   - RFC 3522, 3708, 4015: spurious recoveries are found by timestamps and by DSACK, and undone.
//   - draft-ietf-ccwg-bbr §4.1: delivery-rate samples for congestion control.
//   - RFC 7323: window scale, timestamps, PAWS. RFC 6191, 1337: TIME-WAIT, in
//     records of 80 octets.
//   - RFC 4987: SYN cache in records of 96 octets, SYN cookies when it is full. RFC 6056: ephemeral
//     ports, where the port space is the engine's.
//   - RFC 7413: Fast Open, client and server. As in Linux also the experimental form of the option
//     (RFC 6994), modes without cookies, a SYN that waits for the program's first data, rejected data
//     sent again at once, and a SYN too large for the path sent again at once without data.
//   - RFC 5961: blind reset, SYN and data attacks; challenge ACKs are limited per connection.
//   - RFC 6528: initial sequence numbers by SipHash. RFC 5482: user timeout.
//   - RFC 3168: ECN; RFC 8257 §3.2: the feedback that DCTCP needs.
//   - RFC 1191, 8201: path MTU discovery, with the checks of RFC 5927 §4.1; RFC 4821, 8899: black holes and
//     probing. RFC 5461: soft and hard errors. RFC 6093: urgent data.
//
// # Deviations
//
//   - A segment without timestamps on a connection that uses them is accepted (RFC 7323 §3.2 says
//     drop): middleboxes strip options.
//   - An acceptable segment may begin at the right edge of the window: its ACK is then processed,
//     as Linux does.
//   - Text on a SYN without a Fast Open cookie is not taken; the peer sends it again. SYN with FIN is
//     dropped.
//   - Another SYN in SYN-RECEIVED gets a challenge ACK; it does not return a passive open to LISTEN.
//   - Fast Open requests ended by a RST count against the listener's limit for a minute after the last of
//     them (RFC 7413 §5.1: until they would have timed out). A lost Fast Open SYN is remembered for a
//     minute, doubled by each further one.
//   - A FIN by itself does not wait for the congestion window.
//   - An overtaken pure ACK is processed, or dropped for its old timestamp, without an answer.
//
// # Not here
//
// TCP-AO. Bytes on the wire are in wire, what to do with actions is the device's.
package tcpoffload
