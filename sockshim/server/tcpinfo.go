package server

import (
	"encoding/binary"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// connInfo answers INFO with what the device and the streams know of a socket.
func (c *client) connInfo(m *shm.Msg) unix.Errno {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	r := c.region(m.RegionId)
	if r == nil {
		return unix.ENOENT
	}
	sh := r.shareOf(m.Slot)
	if sh == nil {
		return unix.ENOENT
	}
	var info toe.ConnInfo
	found := false
	r.l.on(sh, func() {
		// A program that has just shut a socket down finds it so.
		if own := sh.w.share(c.own); own != nil {
			own.drainCommands(shm.CmdEntries)
		}
		k := sh.sock(m.Slot)
		switch {
		case sh.dead:
		case m.Gen != 0 && m.Gen != k.gen: // the slot is another socket's by now
		case k.tid != 0:
			found = sh.w.dev.ConnInfo(k.tid, &info)
		case k.state == sockListen:
			info.State, found = "LISTEN", true
		case k.state == sockEnded:
			info.State, found = "CLOSED", true
		}
		if found {
			m.More.Meminfo = memInfo(k, sh.slot(m.Slot), &info)
		}
	})
	if !found {
		return unix.ENOENT
	}
	more(&m.More, &info)
	return putInfo(m, &info)
}

// Places in SO_MEMINFO's array (linux/sock_diag.h).
const (
	memRmemAlloc = iota
	memRcvBuf
	memWmemAlloc
	memSndBuf
	memFwdAlloc
	memWmemQueued
	numMem = 9
)

// memInfo fills in SO_MEMINFO: octets of the streams, and what they may hold.
func memInfo(s *sock, p *shm.Slot, info *toe.ConnInfo) (mem [numMem]uint32) {
	mem[memRmemAlloc] = uint32(s.rxProd - min(s.rxProd, atomic.LoadUint64(&p.RxCons)))
	mem[memRcvBuf] = info.RcvLimit
	mem[memWmemAlloc] = uint32(s.txProd - s.txCons)
	mem[memWmemQueued] = mem[memWmemAlloc]
	mem[memSndBuf] = uint32(s.txLimit)
	return mem
}

// more fills in what does not stand in struct tcp_info.
func more(m *shm.More, info *toe.ConnInfo) {
	for i := range min(len(info.CC), len(m.Cc)-1) {
		m.Cc[i] = int8(info.CC[i])
	}
	m.PathMtu = info.PathMTU
	m.Unsent = uint32(unsent(info))
	var text []any
	switch info.CC {
	case "bbr":
		b := &info.BBR
		text = []any{uint32(b.Bandwidth), uint32(b.Bandwidth >> 32), uint32(b.MinRTT / vtime.Microsecond),
			b.PacingGain, b.CwndGain}
	case "dctcp":
		d := &info.DCTCP
		text = []any{uint16(1), uint16(info.CAState), d.Alpha, d.MarkedOctets, d.AckedOctets}
	}
	b := m.CcInfo[:0]
	for _, v := range text {
		b, _ = binary.Append(b, binary.NativeEndian, v) // integers of fixed size
	}
	m.CcInfoLen = uint32(len(b))
}

// unsent returns the octets that were written and never sent.
func unsent(info *toe.ConnInfo) uint64 {
	return info.SndBufUsed - min(info.SndBufUsed, uint64(info.SndNxt-info.SndUna))
}

// tcpInfo is Linux' struct tcp_info, with its bit fields as octets.
type tcpInfo struct {
	State, CAState, Retransmits, Probes, Backoff, Options uint8
	WScale                                                uint8 // send scale, receive scale << 4
	AppLimited                                            uint8 // bit 0; Fast Open failure in bits 1 and 2

	RTO, ATO, SndMSS, RcvMSS                             uint32
	Unacked, Sacked, Lost, Retrans, Fackets              uint32
	LastDataSent, LastAckSent, LastDataRecv, LastAckRecv uint32 // ms ago
	PMTU, RcvSsthresh, RTT, RTTVar                       uint32
	SndSsthresh, SndCwnd, AdvMSS, Reordering             uint32
	RcvRTT, RcvSpace, TotalRetrans                       uint32

	PacingRate, MaxPacingRate, BytesAcked, BytesReceived uint64
	SegsOut, SegsIn                                      uint32
	NotSent, MinRTT, DataSegsIn, DataSegsOut             uint32
	DeliveryRate, BusyTime, RwndLimited, SndbufLimited   uint64
	Delivered, DeliveredCE                               uint32
	BytesSent, BytesRetrans                              uint64
	DSACKDups, ReordSeen, RcvOOOPack, SndWnd, RcvWnd     uint32
	Rehash                                               uint32
	TotalRTO, TotalRTORecoveries                         uint16
	TotalRTOTime                                         uint32
	AccECN                                               [8]uint32 // of Accurate ECN, which we do not speak
}

// putInfo puts a struct tcp_info into an answer.
func putInfo(m *shm.Msg, info *toe.ConnInfo) unix.Errno {
	ti := tcpInfoOf(info)
	n, err := binary.Encode(m.U[:], binary.NativeEndian, &ti)
	if err != nil {
		return unix.EPROTO
	}
	m.InfoLen = uint32(n)
	return 0
}

// tcpStates are the numbers of include/net/tcp_states.h.
var tcpStates = map[string]uint8{
	"ESTABLISHED": 1, "SYN-SENT": 2, "SYN-RECEIVED": 3, "FIN-WAIT-1": 4, "FIN-WAIT-2": 5,
	"TIME-WAIT": 6, "CLOSED": 7, "CLOSE-WAIT": 8, "LAST-ACK": 9, "LISTEN": 10, "CLOSING": 11,
}

// Bits of tcpi_options (linux/tcp.h).
const (
	optTimestamps = 1 << iota
	optSACK
	optWScale
	optECN
	optECNSeen
	optSynData
)

// noPacing is what Linux shows for a rate without a bound.
const noPacing = 1<<64 - 1

// tcpInfoOf translates info to the kernel's form: times in microseconds, windows in segments.
func tcpInfoOf(info *toe.ConnInfo) tcpInfo {
	us := func(d vtime.Duration) uint32 { return uint32(d / vtime.Microsecond) }
	ms := func(d vtime.Duration) uint32 { return uint32(d / vtime.Millisecond) }
	mss := max(info.SndMSS, 1)
	ti := tcpInfo{
		State: tcpStates[info.State], CAState: info.CAState, Retransmits: info.Backoff,
		Probes: info.Probes, Backoff: info.Backoff,
		WScale: info.SndWscale&15 | info.RcvWscale<<4,
		RTO:    us(info.RTO), ATO: us(info.ATO), SndMSS: info.SndMSS, RcvMSS: info.RcvMSS,
		Unacked: info.Unacked, Sacked: info.Sacked, Lost: info.Lost, Retrans: info.Retrans,
		LastDataSent: ms(info.LastDataSent), LastDataRecv: ms(info.LastDataRecv), LastAckRecv: ms(info.LastAckRecv),
		PMTU: info.PathMTU, RcvSsthresh: info.RcvLimit, RTT: us(info.SRTT), RTTVar: us(info.RTTVar),
		SndSsthresh: info.Ssthresh / mss, SndCwnd: info.Cwnd / mss, AdvMSS: info.AdvMSS,
		Reordering: info.Reordering, RcvRTT: us(info.RcvRTT), RcvSpace: info.RcvSpace,
		TotalRetrans: uint32(info.TotalRetrans),
		PacingRate:   info.PacingRate, MaxPacingRate: info.MaxPacingRate,
		BytesAcked: info.BytesAcked, BytesReceived: info.BytesReceived,
		SegsOut: uint32(info.SegsOut), SegsIn: uint32(info.SegsIn),
		NotSent: uint32(unsent(info)), MinRTT: us(info.MinRTT),
		DataSegsIn: uint32(info.DataSegsIn), DataSegsOut: uint32(info.DataSegsOut),
		DeliveryRate: info.DeliveryRate,
		BusyTime:     uint64(us(info.BusyTime)), RwndLimited: uint64(us(info.RwndLimited)),
		SndbufLimited: uint64(us(info.SndbufLimited)),
		Delivered:     uint32(info.Delivered), DeliveredCE: uint32(info.DeliveredCE),
		BytesSent: info.BytesSent + info.BytesRetrans, BytesRetrans: info.BytesRetrans,
		DSACKDups: info.DSACKDups, ReordSeen: info.ReordSeen, RcvOOOPack: info.RcvOOO,
		SndWnd: info.SndWnd, RcvWnd: info.RcvWnd, TotalRTO: uint16(min(info.TotalRTO, 1<<16-1)),
	}
	if ti.MaxPacingRate == 0 {
		ti.MaxPacingRate = noPacing
	}
	if ti.SndSsthresh > infiniteSsthresh {
		ti.SndSsthresh = infiniteSsthresh
	}
	if info.AppLimited {
		ti.AppLimited = 1
	}
	for _, o := range [...]struct {
		bit uint8
		on  bool
	}{
		{optTimestamps, info.Timestamps}, {optSACK, info.SACK}, {optWScale, info.SndWscale|info.RcvWscale != 0},
		{optECN, info.ECN}, {optECNSeen, info.ECNSeen}, {optSynData, info.SynData},
	} {
		if o.on {
			ti.Options |= o.bit
		}
	}
	return ti
}

// infiniteSsthresh is Linux' initial slow-start threshold, in segments.
const infiniteSsthresh = 1<<31 - 1
