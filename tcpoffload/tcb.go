package tcpoffload

// The transmission control block.

import (
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// TCB is one connection's state (RFC 9293 §3.3.1). It holds no pointers: links are indices into
// the tables of [Memory], 0 for none, so a table of TCBs may lie in any memory.
//
// The fields are grouped by use, each group on cache lines of its own, as layout_test.go demands.
type TCB struct {
	// Line 0: identity and what to do.
	flow     wire.Flow
	hashNext uint32 // next in the bucket, or in the free list
	gen      uint32 // generation, part of the handle; changes when the entry is freed
	state    State  // written by setState only
	ca       caState
	pend     pending // what Transmit has to do
	quick    uint8   // segments still to be acknowledged at once
	flags    connFlags
	txNext   uint32 // transmit list; valid only with flagQueued
	txPrev   uint32
	self     uint32 // index in the table

	// Lines 1 and 2: receive.
	cookie uint64
	rcv    receiveVars
	ts     timestampVars
	rcvRTT rcvRTTVars
	segsIn uint32 // segments received, and of them those with text, modulo 2^32

	dataSegsIn uint32

	// Lines 3 and 4: transmit and acknowledgment.
	snd     sendVars
	segsOut uint32 // segments sent, and of them those with text, modulo 2^32

	dataSegsOut uint32
	pace        paceVars
	ecn         ecnVars
	rec         recoveryVars
	_           [8]byte

	// Lines 5 and 6: timers.
	rtt       rttVars
	deadline  [numTimers]vtime.Time
	wheelAt   vtime.Time // when the wheel looks at this TCB; Never: it is in no slot
	wheelNext uint32
	wheelPrev uint32
	wheelSlot uint16
	backoff   uint8 // exponent of timer back-off (RFC 6298 5.5)
	retries   uint8 // timeouts since the peer last acknowledged something new
	nextHop   uint32

	// Lines 7 and 8: loss, handshake, settings, reports.
	prr         prrVars
	rxt         rxtVars
	undo        undoVars
	tlpEnd      seq.Num    // TLP.end_seq (RFC 8985 §7.1); valid with flagTLPSent
	dsack       dsackRange // duplicate to report; valid with flagDSACK
	sackMark    uint32     // last stamp given to a range of rcv.reasm
	listener    uint32     // passive open: index of the listener
	listenGen   uint32     // and its generation: the index may have another owner by now
	fastOpen    fastOpenFlags
	_           [7]byte
	maxSeg      uint16 // upper bound for MSS from SocketOptions, 0 none
	keepCnt     uint8  // 0: the tunable
	challenges  uint8  // challenge ACKs sent since challengeAt
	rxtSegs     uint32 // segments sent again
	challengeAt vtime.Time
	keepIdle    millis // 0: the tunable
	keepIntvl   millis // 0: the tunable
	userTimeout millis // 0: none
	linger2     millis // 0: the tunable
	rcvTune     rcvTuneVars
	rxtOctets   uint64 // octets sent again

	// Lines 9 to 15: congestion control. The first two are hot.
	cc cc.State

	// Lines 16 and 17: path MTU, what limits sending, reports.
	sndBuf   uint32  // octets of send buffer that are worth having
	lowat    uint32  // NotSentLowat, octets; 0: none
	urg      seq.Num // SND.UP: the octet after the last urgent one; valid with sendUrgent
	dataTick uint32  // when text last arrived (tickOf); 0: never
	chrono   chronoVars
	pmtu     pmtuVars
	softAt   vtime.Time // of the last ICMP error that is not fatal; 0: none
	rcvOOO   uint32     // segments that arrived beyond a hole
	_        [44]byte
}

// millis is a duration in milliseconds, up to 49 days.
type millis uint32

func (m millis) duration() vtime.Duration { return vtime.Duration(m) * vtime.Millisecond }

// millisFrom rounds d up, so that a duration that is not zero stays so.
func millisFrom(d vtime.Duration) millis {
	return millis(min((d+vtime.Millisecond-1)/vtime.Millisecond, 1<<32-1))
}

// connFlags are facts about a connection.
type connFlags uint32

const (
	flagSACK      connFlags = 1 << iota // both ends agreed on SACK (RFC 2018)
	flagTS                              // both ends agreed on timestamps (RFC 7323)
	flagNoDelay                         // Nagle is off
	flagCork                            // hold partial segments
	flagMore                            // the last CallSend said More
	flagKeep                            // keepalive is on
	flagQueued                          // on the transmit list
	flagPassive                         // opened by a listener
	flagOffered                         // ActPassEstablished was given, SetCookie not yet
	flagDetached                        // CallDetach
	flagFinWanted                       // CallClose: FIN follows the last octet
	flagFinSent                         // snd.nxt includes our FIN
	flagFinRcvd                         // rcv.nxt includes the peer's FIN
	flagFixedRcv                        // the program chose the receive limit: no tuning
	flagCwndFull                        // the congestion window stopped the last transmission
	flagAckDue                          // in-order data waits for the delayed ACK
	flagOverride                        // the SWS override timer ran out: send a partial segment
	flagDSACK                           // dsack holds a duplicate to report
	flagUrgent                          // rcv.up is valid
	flagTLP                             // the retransmission timer is a loss probe (RFC 8985 §7)
	flagTLPSent                         // a loss probe is in flight
	flagNoTS                            // do not offer timestamps
	flagNoSACK                          // do not offer SACK
	flagNoWScale                        // do not offer window scaling
	flagUndo                            // undo holds the window before a timeout
	flagUndoTS                          // undo.tsVal is valid
	flagProbeRxt                        // the loss probe in flight repeats octets sent before
	flagRxtLost                         // the retransmission at SND.UNA was lost: send it once more
)

// sendMode says what is unusual about sending on a connection.
type sendMode uint8

const (
	sendFrag      sendMode = 1 << iota // IPv4: routers may fragment, DF is off
	sendFragAsked                      // the program asked for that
	sendSearch                         // a larger path MTU is searched for
	sendUrgent                         // urg is not acknowledged
	sendLowat                          // tell when what is not sent falls below lowat
	sendFixedBuf                       // the program chose the send buffer: no tuning
	sendUTO                            // a user timeout option is due (RFC 5482)
	sendUTOFixed                       // the program chose the user timeout: the peer does not
)

// pending are the jobs of Transmit for one connection.
type pending uint8

const (
	pendSyn   pending = 1 << iota // SYN or SYN-ACK
	pendAck                       // an ACK, by itself if no data takes it along
	pendData                      // look whether data or FIN may go
	pendProbe                     // a probe that makes the peer answer: persist or keepalive
	pendReset                     // RST, then free: the entry is closed and out of the flow table
	pendTail                      // tail loss probe
)

// receiveVars are RCV.* (RFC 9293 §3.3.1) and the receive stream's bookkeeping.
type receiveVars struct {
	nxt     seq.Num
	adv     seq.Num // right edge ever advertised: octets before it may arrive
	irs     seq.Num
	up      seq.Num    // urgent pointer: the octet after the urgent one; valid with flagUrgent
	nxt64   uint64     // RCV.NXT − IRS, not wrapped: stream position + 1
	read    uint64     // stream position up to which the program has read
	limit   uint32     // octets that may be unread
	mss     uint32     // estimate of the peer's segment size, for the ACK rule
	maxSeg  uint16     // MSS that we announced
	wscale  uint8      // Rcv.Wind.Shift
	nreasm  uint8      // ranges in the list
	reasm   uint32     // ranges beyond a hole, ascending (pool index)
	last    vtime.Time // of the last segment
	finSeq  seq.Num    // sequence number of a FIN beyond a hole; valid with finHeld
	finHeld bool       // the peer's FIN arrived beyond a hole
	probes  uint8      // persist or keepalive probes without an answer
	ecn     ecnFlags
	ack     ackFlags
}

// timestampVars are RFC 7323's.
type timestampVars struct {
	recent      uint32     // TS.Recent
	offset      uint32     // of our timestamp clock, per pair of addresses
	recentAt    vtime.Time // when recent was taken
	lastAckSent seq.Num    // Last.ACK.sent
	lastText    uint32     // octets of the last segment, for the estimate of rcv.mss
}

// sendVars are SND.* (RFC 9293 §3.3.1) and the send stream's bookkeeping.
type sendVars struct {
	una      seq.Num
	nxt      seq.Num
	wnd      uint32 // octets, already shifted
	wndMax   uint32 // largest ever: Max(SND.WND)
	wl1, wl2 seq.Num
	iss      seq.Num
	mss      uint32  // octets of payload and options; payload alone is effMSS
	una64    uint64  // SND.UNA − ISS, not wrapped: stream position + 1
	end      uint64  // stream position of the end of what the program queued
	small    seq.Num // end of the last partial segment sent (Minshall's Nagle)
	wscale   uint8   // Snd.Wind.Shift
	nscore   uint8   // ranges in the scoreboard
	dupAcks  uint8
	mode     sendMode
	score    uint32     // SACKed ranges, ascending (pool index); valid only with flagSACK
	sacked   uint32     // octets in the scoreboard, or estimated from duplicate ACKs
	lastSent vtime.Time // of the last segment with data
}

// recoveryVars are RFC 6675's and RFC 6582's.
type recoveryVars struct {
	lost    seq.Num // all octets before it that are not SACKed are lost
	highRxt seq.Num // HighRxt: retransmitted up to here
	point   seq.Num // RecoveryPoint ("recover" in RFC 6582)
	pipe    uint32  // octets estimated in flight
}

// prrVars are RFC 6937's.
type prrVars struct {
	delivered uint32 // octets delivered since recovery began
	out       uint32 // octets sent since recovery began
	flight    uint32 // RecoverFS
}

// rttVars are RFC 6298's.
type rttVars struct {
	srtt, rttvar vtime.Duration // 0 before the first measurement
	rto          vtime.Duration // without back-off
	min          vtime.Duration // smallest sample, 0 before the first
	timedAt      vtime.Time     // when timedSeq was sent; Never: nothing is being timed
	timedSeq     seq.Num        // the sample ends when it is acknowledged
	_            uint32
}

// rcvRTTVars are the receiver's estimate of the round trip: how long a window takes to arrive.
type rcvRTTVars struct {
	rtt  vtime.Duration // 0 unknown
	at   vtime.Time     // when edge was set; 0 never
	edge seq.Num        // the measurement ends when RCV.NXT passes it
	ecr  uint32         // last timestamp echo taken as a measurement
}

// rcvTuneVars measure how fast the program reads, to size the receive limit.
type rcvTuneVars struct {
	at   vtime.Time // begin of the present round trip
	read uint32     // stream position read at that time, low half
	most uint32     // octets read in the best round trip so far
}

// undoVars restore the congestion window when a timeout turns out to be spurious. Valid with
// flagUndo.
type undoVars struct {
	cwnd, ssthresh uint32
	tsVal          uint32 // our timestamp on the first retransmission; valid with flagUndoTS
}
