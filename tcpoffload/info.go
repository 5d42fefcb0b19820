package tcpoffload

// Snapshot of one connection.

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// TimerKind names one of a connection's timers.
type TimerKind uint8

// The timers. Rexmt and persist exclude each other.
const (
	TimerRexmt   TimerKind = iota // retransmission (RFC 6298) and tail loss probe
	TimerPersist                  // zero-window probe and SWS override (RFC 9293 §3.8.6)
	TimerKeep                     // keepalive (RFC 9293 §3.8.4)
	Timer2MSL                     // TIME-WAIT, FIN-WAIT-2 of a detached connection
	TimerDelack                   // delayed ACK (RFC 9293 §3.8.6.3)
	numTimers
	TimerNone = numTimers // in Info: no timer runs
)

// Info is one connection's state in RFC terms. Octets unless said otherwise.
type Info struct {
	Handle   Handle
	Cookie   uint64
	Flow     wire.Flow
	State    State
	Detached bool

	SndUna, SndNxt, SndMax seq.Num
	RcvNxt                 seq.Num
	SndWnd, RcvWnd         uint32
	SndWscale, RcvWscale   uint8
	SndMSS, RcvMSS         uint32
	RcvLimit               uint32 // octets that the receive stream may hold unread, as tuned

	Cwnd, Ssthresh uint32
	SRTT, RTTVar   vtime.Duration // zero before the first measurement
	RTO, MinRTT    vtime.Duration
	CC             string // name of the congestion-control algorithm
	CAState        uint8  // 0 open, 1 disorder, 3 recovery, 4 loss (Linux' numbers)
	Backoff        uint8  // timeouts in a row
	SACK           bool
	Timestamps     bool
	ECN            bool

	Unacked, Sacked, Lost uint32 // segments, rounded up
	Retrans               uint32 // segments retransmitted and not yet acknowledged
	TotalRetrans          uint64 // segments
	BytesSent             uint64 // stream position of SND.NXT
	BytesAcked            uint64 // stream position of SND.UNA
	BytesReceived         uint64 // stream position of RCV.NXT
	BytesRetrans          uint64
	SegsIn, SegsOut       uint64
	SndBufUsed            uint64 // unacknowledged or unsent
	RcvBufUsed            uint64 // in order and unread

	Timer     TimerKind // the running timer that expires first
	TimerLeft vtime.Duration
}
