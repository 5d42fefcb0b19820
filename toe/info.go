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
	AdvMSS                 uint32 // what we announce at most
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
	SndBufUsed, RcvBufUsed uint64 // octets unacknowledged or unsent; octets unread

	CC            string // name of the congestion control
	PacingRate    uint64 // octets per second; 0: not paced
	MaxPacingRate uint64 // bound of it; 0: none
	DeliveryRate  uint64 // octets per second, the last sample
	AppLimited    bool   // that sample was limited by the program
	PathMTU       uint32 // octets of IP packet
	RcvLimit      uint32 // octets that may lie unread
	RcvSpace      uint32 // octets that the program reads in a round trip
	RcvRTT        vtime.Duration
	ATO           vtime.Duration // delay of an ACK
	Reordering    uint32         // segments
	ReordSeen     uint32         // times that segments were seen out of order
	DSACKDups     uint32         // DSACK blocks received
	TotalRTO      uint32         // retransmission timeouts
	RcvOOO        uint32         // segments received out of order
	Probes        uint8          // unanswered window or keepalive probes
	ECNSeen       bool           // a marked or markable packet has come
	SynData       bool           // the peer took data in our SYN (RFC 7413)
	DataSegsIn    uint64
	DataSegsOut   uint64
	Delivered     uint64 // octets that arrived, in full segments
	DeliveredCE   uint64 // of them, marked

	LastDataSent, LastDataRecv, LastAckRecv vtime.Duration // so long ago
	BusyTime, RwndLimited, SndbufLimited    vtime.Duration // sums

	BBR   BBRInfo   // valid only if CC is "bbr"
	DCTCP DCTCPInfo // valid only if CC is "dctcp"

	Timer     string         // the running timer that expires first: "on", "keepalive", "timewait", "persist", ""
	TimerLeft vtime.Duration // until it does
}

// BBRInfo is what TCP_CC_INFO shows of BBR.
type BBRInfo struct {
	Bandwidth  uint64 // octets per second
	MinRTT     vtime.Duration
	PacingGain uint32 // in 1/256
	CwndGain   uint32 // in 1/256
}

// DCTCPInfo is what TCP_CC_INFO shows of DCTCP (RFC 8257).
type DCTCPInfo struct {
	Alpha                     uint32 // share of marked octets, in 1/1024
	MarkedOctets, AckedOctets uint32
}
