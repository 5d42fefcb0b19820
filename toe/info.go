package toe

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// ConnInfo is one connection's state, in RFC 9293's and TCP_INFO's terms. Octets, segments or
// nanoseconds as named.
type ConnInfo struct {
	Flow  wire.Flow
	Sock  SockID
	State string // RFC 9293 name: "ESTABLISHED"

	SndUna, SndNxt, SndMax uint32
	RcvNxt                 uint32
	SndWnd, RcvWnd         uint32 // octets
	SndWscale, RcvWscale   uint8
	SndMSS, RcvMSS         uint32
	Cwnd, Ssthresh         uint32 // octets
	SRTT, RTTVar, RTO      vtime.Duration
	MinRTT                 vtime.Duration
	SACK, Timestamps, ECN  bool
	CAState                uint8  // Linux tcpi_ca_state: 0 open, 1 disorder, 3 recovery, 4 loss
	Backoff                uint8  // RTO back-offs in a row
	Unacked, Sacked, Lost  uint32 // segments
	Retrans                uint32 // segments retransmitted and not yet acknowledged
	TotalRetrans           uint64 // segments
	BytesSent, BytesAcked  uint64
	BytesReceived          uint64
	BytesRetrans           uint64
	SegsIn, SegsOut        uint64
	SndBufUsed, RcvBufUsed uint64         // octets unacknowledged or unsent; octets unread
	Timer                  string         // the running timer that expires first: "on", "keepalive", "timewait", "persist", ""
	TimerLeft              vtime.Duration // until it does
}
