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
	snd         sendVars
	rack        rackVars
	segsOut     uint32 // segments sent, and of them those with text, modulo 2^32
	dataSegsOut uint32
	dataTick    uint32 // when text last arrived (tickOf); even: never, and about when the handshake ended
	sndBuf      uint32 // octets of send buffer that are worth having
	lastRate    lastRate

	// Lines 5 to 7: the round trip, timers, what is in flight.
	rtt       rttVars
	deadline  [numTimers]vtime.Time
	wheelAt   vtime.Time // when the wheel looks at this TCB; Never: it is in no slot
	wheelNext uint32
	wheelPrev uint32
	wheelSlot uint16
	backoff   uint8 // exponent of timer back-off (RFC 6298 5.5)
	retries   uint8 // timeouts since the peer last acknowledged something new
	nextHop   uint32
	fl        flightVars
	model     uint32 // entry of Memory.Models; 0: the congestion control needs none

	// Lines 8 and 9: delivery rate, recovery, what limits sending.
	rate    rateVars
	rec     recoveryVars
	chrono  chronoVars
	rcvTune rcvTuneVars
	softAt  vtime.Time // of the last ICMP error that is not fatal; 0: none

	// Lines 10 to 12: congestion control. The first two are hot.
	cc cc.State

	// Lines 13 to 15: what is rare, settings, reports.
	pace        paceVars
	prr         prrVars
	undo        undoVars
	sackSeen    [3]seqPair // SACK blocks of the last ACK that are entered
	reasm       reasmVars
	dsack       seqPair // duplicate to report; valid with flagDSACK
	ecn         ecnVars
	pmtu        pmtuVars
	urg         seq.Num // SND.UP: the octet after the last urgent one; valid with sendUrgent
	lowat       uint32  // NotSentLowat, octets; 0: none
	borders     borderVars
	challenged  uint32     // begin of the present period of challenge ACKs (tickOf); 0: none
	listener    uint32     // passive open: index of the listener
	listenGen   uint32     // and its generation: the index may have another owner by now
	rxtOctets   uint64     // octets sent again
	rxtSegs     uint32     // segments sent again
	rcvOOO      uint32     // segments that arrived beyond a hole
	keepIdle    millis     // 0: the tunable
	keepIntvl   millis     // 0: the tunable
	userTimeout millis     // 0: none
	linger2     millis     // 0: the tunable
	maxSeg      uint16     // upper bound for MSS from SocketOptions, 0 none
	ip          ipVars     // valid with sendIP
	challenges  uint8      // challenge ACKs sent since challenged
	waits       chronoKind // what sending waits for
	fastOpen    fastOpenFlags
	rcvClamp    uint32 // upper bound of the receive limit, octets; 0: none
	late        uint32 // ACKs that told of octets that came after later ones
}

// ipVars are fields of the IP header that the program chose.
type ipVars struct{ tos, ttl uint8 }

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
	flagUndo                            // the last recovery may turn out needless: undo is valid
	flagUndoTS                          // undo.tsVal is valid
	flagProbeRxt                        // the loss probe in flight repeats octets sent before
	flagHeadNow                         // what timed out is still to be sent again
	flagMarking                         // marking what a timeout lost goes on by TimerReo
	flagUnlosing                        // what still counts as lost is not; clearing goes on by TimerReo
	flagReoRound                        // rack.round is valid
)

// sendMode says what is unusual about sending on a connection.
type sendMode uint16

const (
	sendFrag      sendMode = 1 << iota // IPv4: routers may fragment, DF is off
	sendFragAsked                      // the program asked for that
	sendSearch                         // a larger path MTU is searched for
	sendUrgent                         // urg is not acknowledged
	sendLowat                          // tell when what is not sent falls below lowat
	sendFixedBuf                       // the program chose the send buffer: no tuning
	sendUTO                            // a user timeout option is due (RFC 5482)
	sendUTOFixed                       // the program chose the user timeout: the peer does not
	sendIP                             // ip is not the device's default
	sendBorders                        // borders are not empty
	sendNoPush                         // the last CallSend said More: what it queued is not pushed
	sendForget                         // forgetting what is SACKed goes on at fl.hint, by TimerReo
	sendResend                         // making lost what has to be sent in another form goes on by TimerReo
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
	up      seq.Num // urgent pointer: the octet after the urgent one; valid with flagUrgent
	nxt64   uint64  // RCV.NXT − IRS, not wrapped: stream position + 1
	read    uint64  // stream position up to which the program has read
	limit   uint32  // octets that may be unread
	mss     uint32  // estimate of the peer's segment size, for the ACK rule
	maxSeg  uint16  // MSS that we announced
	wscale  uint8   // Rcv.Wind.Shift
	ecn     ecnFlags
	reasm   uint32     // first range beyond a hole, ascending (pool index)
	last    vtime.Time // of the last segment
	finSeq  seq.Num    // sequence number of a FIN beyond a hole; valid with finHeld
	finHeld bool       // the peer's FIN arrived beyond a hole
	probes  uint8      // persist or keepalive probes without an answer
	ack     ackFlags
	keepCnt uint8 // keepalive probes that end the connection; 0: the tunable
}

// reasmVars are about the list at rcv.reasm, as pool indices.
type reasmVars struct {
	tail   uint32 // last range
	newest uint32 // the range that grew last
	n      uint32 // ranges
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
	dupAcks  uint8
	mode     sendMode
	sacked   uint32     // octets SACKed, or without SACK estimated from duplicate ACKs
	dsacks   uint32     // DSACK blocks received
	lastSent vtime.Time // of the last segment with data
}

// rttVars are RFC 6298's.
type rttVars struct {
	srtt, rttvar vtime.Duration // 0 before the first measurement
	rto          vtime.Duration // without back-off
	min          vtime.Duration // smallest in the last minutes, 0 before the first
	minAt        vtime.Time     // when min was measured
	timedAt      vtime.Time     // when our SYN was sent; Never: not, or more than once
	next         seq.Num        // what was sent after it gives the next sample
	timeouts     uint32         // of retransmission, in all
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
