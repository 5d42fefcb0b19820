package tcpoffload

// Snapshot of one connection.

import (
	"opentoe/tcpoffload/cc"
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
	Timer2MSL                     // TIME-WAIT (records have one of their own), FIN-WAIT-2 of a detached connection
	TimerDelack                   // delayed ACK (RFC 9293 §3.8.6.3)
	TimerReo                      // reordering (RFC 8985 §6.2 step 5)
	TimerMTU                      // time to try larger packets (RFC 1191 §6.3, RFC 8899 §5.1.1)
	TimerPace                     // the next quantum of paced data may leave
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
	SndWndMax              uint32 // the largest SndWnd that the peer has had
	SndWscale, RcvWscale   uint8
	SndMSS, RcvMSS         uint32
	AdvMSS                 uint32 // what we announce at most, less what timestamps take, as Linux has it
	PathMTU                uint16 // octets of an IP packet
	RcvLimit               uint32 // octets that the receive stream may hold unread, as tuned

	Cwnd, Ssthresh uint32
	SRTT, RTTVar   vtime.Duration // zero before the first measurement
	RTO, MinRTT    vtime.Duration
	CC             string   // name of the congestion-control algorithm
	PacingRate     uint64   // octets per second; 0: not paced
	MaxPacingRate  uint64   // the program's bound of it; 0: none
	DeliveryRate   uint64   // octets per second, of the last sample
	AppLimited     bool     // the program limited that sample
	BBR            cc.Probe // valid only if CC is "bbr"
	DCTCP          cc.Marks // valid only if CC is "dctcp"
	CAState        uint8    // 0 open, 1 disorder, 2 window reduced for ECE, 3 recovery, 4 loss (Linux' numbers)
	Backoff        uint8    // timeouts in a row
	SACK           bool
	Timestamps     bool
	ECN            bool
	ECNSeen        bool // the peer uses ECT
	SynData        bool // data on a SYN were taken (RFC 7413)

	Unacked, Sacked, Lost uint32 // segments, rounded up
	Retrans               uint32 // segments retransmitted and not yet acknowledged
	Reordering            uint32 // DupThresh, or the greatest distance seen if that is more, segments
	ReordSeen             uint32 // ACKs that told of reordering
	DSACKDups             uint32 // DSACK blocks received
	TotalRTO              uint32 // retransmission timeouts
	TotalRetrans          uint64 // segments
	BytesSent             uint64 // stream position of SND.NXT
	BytesAcked            uint64 // stream position of SND.UNA
	BytesReceived         uint64 // stream position of RCV.NXT
	BytesRetrans          uint64
	SegsIn, SegsOut       uint64 // modulo 2^32, as are the next two
	DataSegsIn            uint64 // with text; out-of-order ones included, duplicates not
	DataSegsOut           uint64 // with text, retransmissions included
	RcvOOO                uint32 // segments that arrived beyond a hole
	// Delivered are the octets known to have arrived, in full segments and rounded up, and the SYN. Linux
	// counts segments as they were sent: the same for bulk transfer, more for small ones. The list of
	// what is in flight knows octets and instants, not how they were cut.
	Delivered   uint64
	DeliveredCE uint64 // segments delivered by ACKs with ECE
	Probes      uint8  // keepalive or window probes without an answer
	SndBufUsed  uint64 // unacknowledged or unsent
	RcvBufUsed  uint64 // in order and unread

	SndBuf        uint32         // send buffer that is worth having, or that the program chose
	RcvSpace      uint32         // the most that the program read in a round trip; at first what fits an initial window, as in Linux
	RcvRTT        vtime.Duration // the receiver's estimate; zero before the first
	ATO           vtime.Duration // how long an ACK may wait
	UserTimeout   vtime.Duration // RFC 5482; zero: none
	LastDataSent  vtime.Duration // so long ago: new text sent
	LastDataRecv  vtime.Duration // so long ago, to a millisecond or two: text received, or before any the handshake
	LastAckRecv   vtime.Duration // so long ago: any segment received
	BusyTime      vtime.Duration // during which there was something to send or unacknowledged
	RwndLimited   vtime.Duration // of it, limited by the peer's window
	SndbufLimited vtime.Duration // of it, limited by the send buffer

	Timer     TimerKind // the running timer that expires first
	TimerLeft vtime.Duration
}

// Info fills info with the present state of h, a connection or one that is half-open or in TIME-WAIT,
// and reports whether h names one.
func (e *Engine) Info(h Handle, now vtime.Time, info *Info) bool {
	t := e.find(h)
	if t == nil {
		return e.recordInfo(h, now, info)
	}
	mss := max(t.snd.mss, 1)
	if t.snd.mss > 0 {
		mss = t.effMSS()
	}
	segs := func(octets uint32) uint32 { return (octets + mss - 1) / mss }
	*info = Info{
		Handle: h, Cookie: t.cookie, Flow: t.flow, State: t.state,
		Detached: t.flags&flagDetached != 0,
		SndUna:   t.snd.una, SndNxt: t.snd.nxt, SndMax: t.snd.nxt, RcvNxt: t.rcv.nxt,
		SndWnd: t.snd.wnd, SndWndMax: t.snd.wndMax, RcvWnd: uint32(t.rcv.adv - t.rcv.nxt),
		SndWscale: t.snd.wscale, RcvWscale: t.rcv.wscale,
		SndMSS: mss, RcvMSS: t.rcv.mss, AdvMSS: uint32(t.rcv.maxSeg), RcvLimit: t.rcv.limit,
		Cwnd: t.cc.Cwnd, Ssthresh: t.cc.Ssthresh,
		SRTT: t.rtt.srtt, RTTVar: t.rtt.rttvar, RTO: backedOff(t.rtt.rto, t.backoff, e.tun.RTOMax),
		MinRTT: t.rtt.min, CC: t.cc.Algorithm().String(), CAState: uint8(t.ca), Backoff: t.backoff,
		SACK: t.flags&flagSACK != 0, Timestamps: t.flags&flagTS != 0,
		Unacked: segs(t.flight()), Sacked: segs(t.snd.sacked),
		TotalRetrans: uint64(t.rxtSegs), BytesRetrans: t.rxtOctets,
		SegsIn: uint64(t.segsIn), SegsOut: uint64(t.segsOut),
	}
	info.SynData = t.fastOpen&fastDone != 0
	info.ECN = t.rcv.ecn&ecnOK != 0
	info.ECNSeen = info.ECN && t.rcv.ecn&ecnSeen != 0
	if t.rcv.ecn&ecnReduced != 0 && t.ca < caCWR {
		info.CAState = uint8(caCWR)
	}
	info.PacingRate, info.MaxPacingRate = t.cc.PacingRate(), t.cc.MaxRate()
	info.DeliveryRate, info.AppLimited = t.lastRate.perSecond()
	info.BBR, _ = e.control(t).Probe()
	info.DCTCP, _ = t.cc.Marks()
	if !isOpening.has(t.state) {
		if t.flags&flagTS != 0 {
			info.AdvMSS -= tsOptLen
		}
		acked := min(t.snd.una64-1, t.snd.end)
		info.BytesAcked = acked
		info.BytesSent = t.snd.end - e.unsent(t)
		info.BytesReceived = t.rcvPos()
		info.SndBufUsed = t.snd.end - acked
		info.RcvBufUsed = uint64(t.unread())
		info.Lost, info.Retrans = segs(t.fl.lost), segs(t.fl.rxt)
		if t.ca >= caRecovery {
			info.Lost = segs(t.fl.lost + t.fl.rxt) // as Linux counts: lost until it arrives
		}
		info.Reordering = max(uint32(t.rack.reordered), dupThresh)
		info.ReordSeen, info.DSACKDups, info.TotalRTO = t.late, t.snd.dsacks, t.rtt.timeouts
		info.Delivered = 1 + (t.rate.delivered+uint64(mss)-1)/uint64(mss)
	}
	t.reportTraffic(e, now, info)
	quiet := t.deadline[TimerMTU]
	t.deadline[TimerMTU] = vtime.Never // nothing that anybody waits for
	when, kind := t.earliest()
	t.deadline[TimerMTU] = quiet
	info.Timer = kind
	if kind != TimerNone {
		info.TimerLeft = max(when.Sub(now), 0)
	}
	return true
}

// recordInfo is Info for what is half-open or in TIME-WAIT.
func (e *Engine) recordInfo(h Handle, now vtime.Time, info *Info) bool {
	if s := e.findHalfOpen(h); s != nil {
		q := synQueue(s.retries)
		*info = Info{
			Handle: h, Flow: s.flow, State: StateSynReceived,
			SndUna: s.iss, SndNxt: s.iss.Add(1), SndMax: s.iss.Add(1), RcvNxt: s.irs.Add(1),
			RcvWnd: uint32(s.window(e)), SndWscale: s.sndScale(), RcvWscale: s.rcvScale(),
			SndMSS: uint32(min(s.peerMSS, s.ownMSS)), RTO: e.synWait(q), Backoff: s.retries,
			SACK: s.flags&synSACK != 0, Timestamps: s.flags&synTS != 0, ECN: s.flags&synECN != 0,
			CC: e.tun.CC.String(), TotalRetrans: uint64(s.retries),
			Timer: TimerRexmt, TimerLeft: max(s.sentAt.Add(e.synWait(q)).Sub(now), 0),
		}
		return true
	}
	w := e.findTimeWait(h)
	if w == nil {
		return false
	}
	*info = Info{
		Handle: h, Flow: w.flow, State: StateTimeWait, Detached: true,
		SndUna: w.sndNxt, SndNxt: w.sndNxt, SndMax: w.sndNxt, RcvNxt: w.rcvNxt,
		Timestamps: w.withTS, CC: e.tun.CC.String(),
		Timer: Timer2MSL, TimerLeft: max(w.expires.Sub(now), 0),
	}
	return true
}

// linuxInitialSegs is how many segments Linux expects in the first round trip (TCP_INIT_CWND).
const linuxInitialSegs = 10

// reportTraffic fills what info says of windows, buffers and time.
func (t *TCB) reportTraffic(e *Engine, now vtime.Time, info *Info) {
	info.PathMTU = t.pmtu.mtu
	info.DataSegsIn, info.DataSegsOut = uint64(t.dataSegsIn), uint64(t.dataSegsOut)
	info.RcvOOO, info.DeliveredCE, info.Probes = t.rcvOOO, uint64(t.ecn.deliveredCE), t.rcv.probes
	info.SndBuf, info.RcvRTT = t.sndBuf, t.rcvRTT.rtt
	info.RcvSpace = max(t.rcvTune.most, min(linuxInitialSegs*info.AdvMSS, t.rcv.limit))
	info.ATO, info.UserTimeout = e.tun.DelAck, t.userTimeout.duration()
	if t.snd.lastSent != 0 {
		info.LastDataSent = now.Sub(t.snd.lastSent)
	}
	if !isOpening.has(t.state) {
		info.LastDataRecv = vtime.Duration(tickOf(now)-(t.dataTick|1)) << 20
	}
	info.LastAckRecv = now.Sub(t.rcv.last)

	info.RwndLimited, info.SndbufLimited = t.spent(chronoRwnd, now), t.spent(chronoSndBuf, now)
	info.BusyTime = t.spent(chronoBusy, now) + info.RwndLimited + info.SndbufLimited
}
