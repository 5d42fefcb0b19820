package socket

// TCP_INFO.

import (
	"encoding/binary"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
)

// TCPInfo is Linux's struct tcp_info, octet for octet.
type TCPInfo struct {
	State, CAState, Retransmits, Probes, Backoff, Options uint8
	Wscale                                                uint8 // of the peer in the lower, ours in the upper four bits
	AppLimited                                            uint8 // bit 0: the delivery rate was limited by the program; 1 and 2: Fast Open failure

	RTO, ATO, SndMSS, RcvMSS                                 uint32 // µs, octets
	Unacked, Sacked, Lost, Retrans, Fackets                  uint32 // segments
	LastDataSent, LastAckSent, LastDataRecv, LastAckRecv     uint32 // ms ago
	Pmtu, RcvSsthresh, RTT, RTTVar, SndSsthresh, SndCwnd     uint32
	AdvMSS, Reordering, RcvRTT, RcvSpace, TotalRetrans       uint32
	PacingRate, MaxPacingRate, BytesAcked, BytesReceived     uint64
	SegsOut, SegsIn, NotSent, MinRTT, DataSegsIn, DataSegOut uint32
	DeliveryRate, BusyTime, RwndLimited, SndbufLimited       uint64
	Delivered, DeliveredCE                                   uint32
	BytesSent, BytesRetrans                                  uint64
	DSACKDups, ReordSeen, RcvOooPack, SndWnd, RcvWnd, Rehash uint32
	TotalRTO, TotalRTORecoveries                             uint16
	TotalRTOTime                                             uint32
}

// infoFields are the names that Linux gives the members, with place and size in octets.
var infoFields = []struct {
	name      string
	off, size int
}{
	{"tcpi_state", 0, 1}, {"tcpi_ca_state", 1, 1}, {"tcpi_retransmits", 2, 1}, {"tcpi_probes", 3, 1},
	{"tcpi_backoff", 4, 1}, {"tcpi_options", 5, 1},
	{"tcpi_rto", 8, 4}, {"tcpi_ato", 12, 4}, {"tcpi_snd_mss", 16, 4}, {"tcpi_rcv_mss", 20, 4},
	{"tcpi_unacked", 24, 4}, {"tcpi_sacked", 28, 4}, {"tcpi_lost", 32, 4}, {"tcpi_retrans", 36, 4},
	{"tcpi_fackets", 40, 4}, {"tcpi_last_data_sent", 44, 4}, {"tcpi_last_ack_sent", 48, 4},
	{"tcpi_last_data_recv", 52, 4}, {"tcpi_last_ack_recv", 56, 4}, {"tcpi_pmtu", 60, 4},
	{"tcpi_rcv_ssthresh", 64, 4}, {"tcpi_rtt", 68, 4}, {"tcpi_rttvar", 72, 4},
	{"tcpi_snd_ssthresh", 76, 4}, {"tcpi_snd_cwnd", 80, 4}, {"tcpi_advmss", 84, 4},
	{"tcpi_reordering", 88, 4}, {"tcpi_rcv_rtt", 92, 4}, {"tcpi_rcv_space", 96, 4},
	{"tcpi_total_retrans", 100, 4}, {"tcpi_pacing_rate", 104, 8}, {"tcpi_max_pacing_rate", 112, 8},
	{"tcpi_bytes_acked", 120, 8}, {"tcpi_bytes_received", 128, 8}, {"tcpi_segs_out", 136, 4},
	{"tcpi_segs_in", 140, 4}, {"tcpi_notsent_bytes", 144, 4}, {"tcpi_min_rtt", 148, 4},
	{"tcpi_data_segs_in", 152, 4}, {"tcpi_data_segs_out", 156, 4}, {"tcpi_delivery_rate", 160, 8},
	{"tcpi_busy_time", 168, 8}, {"tcpi_rwnd_limited", 176, 8}, {"tcpi_sndbuf_limited", 184, 8},
	{"tcpi_delivered", 192, 4}, {"tcpi_delivered_ce", 196, 4}, {"tcpi_bytes_sent", 200, 8},
	{"tcpi_bytes_retrans", 208, 8}, {"tcpi_dsack_dups", 216, 4}, {"tcpi_reord_seen", 220, 4},
	{"tcpi_rcv_ooopack", 224, 4}, {"tcpi_snd_wnd", 228, 4}, {"tcpi_rcv_wnd", 232, 4},
	{"tcpi_rehash", 236, 4}, {"tcpi_total_rto", 240, 2}, {"tcpi_total_rto_recoveries", 242, 2},
	{"tcpi_total_rto_time", 244, 4},
}

// Bytes returns the struct as getsockopt gives it.
func (i *TCPInfo) Bytes() []byte {
	b, err := binary.Append(nil, binary.NativeEndian, i)
	if err != nil {
		panic("socket: TCPInfo is not of fixed size: " + err.Error())
	}
	return b
}

// Field returns the member that Linux calls name.
func (i *TCPInfo) Field(name string) (v int64, ok bool) {
	switch name {
	case "tcpi_snd_wscale":
		return int64(i.Wscale & 0xf), true
	case "tcpi_rcv_wscale":
		return int64(i.Wscale >> 4), true
	case "tcpi_delivery_rate_app_limited":
		return int64(i.AppLimited & 1), true
	}
	b := i.Bytes()
	for _, f := range infoFields {
		if f.name != name {
			continue
		}
		switch f.size {
		case 1:
			return int64(b[f.off]), true
		case 2:
			return int64(binary.NativeEndian.Uint16(b[f.off:])), true
		case 4:
			return int64(binary.NativeEndian.Uint32(b[f.off:])), true
		}
		return int64(binary.NativeEndian.Uint64(b[f.off:])), true
	}
	return 0, false
}

// Numbers of tcpi_state, and bits of tcpi_options.
const (
	linuxListen = 10
	linuxClose  = 7

	optTimestamps = 1
	optSACK       = 2
	optWscale     = 4
	optECN        = 8
	optECNSeen    = 16
	optSynData    = 32
)

// linuxState returns Linux's number of a state.
func linuxState(s tcpoffload.State) uint8 {
	switch s {
	case tcpoffload.StateEstablished:
		return 1
	case tcpoffload.StateSynSent:
		return 2
	case tcpoffload.StateSynReceived:
		return 3
	case tcpoffload.StateFinWait1:
		return 4
	case tcpoffload.StateFinWait2:
		return 5
	case tcpoffload.StateTimeWait:
		return 6
	case tcpoffload.StateCloseWait:
		return 8
	case tcpoffload.StateLastAck:
		return 9
	case tcpoffload.StateClosing:
		return 11
	}
	return linuxClose
}

// TCPInfo returns TCP_INFO of descriptor fd at time now; ok false: it is not a socket.
func (h *Host) TCPInfo(now vtime.Time, fd int) (info TCPInfo, ok bool) {
	h.now = now
	s, e := h.sock(fd)
	if e != 0 {
		return TCPInfo{}, false
	}
	return s.tcpInfo(), true
}

// noteSynData remembers whether data on the SYN were taken.
func (s *sock) noteSynData() {
	if i := s.h.sockInfo(s); i != nil {
		s.synData = i.SynData
	}
}

func (s *sock) tcpInfo() TCPInfo {
	out := TCPInfo{State: linuxClose, MaxPacingRate: 1<<64 - 1}
	if s.state == sockListening {
		out.State = linuxListen
		out.Unacked, out.Sacked = uint32(len(s.queue)), uint32(s.backlog)
		return out
	}
	i := s.h.sockInfo(s)
	if i == nil {
		if s.synData {
			out.Options = optSynData
		}
		return out
	}
	out.State, out.CAState, out.Backoff = linuxState(i.State), i.CAState, i.Backoff
	out.Retransmits, out.Probes = i.Backoff, i.Probes
	out.Wscale = i.SndWscale | i.RcvWscale<<4
	for _, f := range [...]struct {
		on  bool
		bit uint8
	}{
		{i.Timestamps, optTimestamps}, {i.SACK, optSACK}, {i.SndWscale|i.RcvWscale != 0, optWscale}, {i.ECN, optECN},
		{i.ECNSeen, optECNSeen}, {i.SynData, optSynData},
	} {
		if f.on {
			out.Options |= f.bit
		}
	}
	mss := max(i.SndMSS, 1)
	out.RTO, out.ATO = micros(i.RTO), micros(i.ATO)
	out.SndMSS, out.RcvMSS = i.SndMSS, i.RcvMSS
	out.Unacked, out.Sacked, out.Lost, out.Retrans = i.Unacked, i.Sacked, i.Lost, i.Retrans
	out.LastDataSent, out.LastDataRecv, out.LastAckRecv = millis(i.LastDataSent), millis(i.LastDataRecv), millis(i.LastAckRecv)
	out.Pmtu, out.AdvMSS = uint32(i.PathMTU), i.AdvMSS
	out.RTT, out.RTTVar, out.MinRTT = micros(i.SRTT), micros(i.RTTVar), micros(i.MinRTT)
	out.SndCwnd, out.SndSsthresh = i.Cwnd/mss, i.Ssthresh/mss
	if i.Ssthresh >= 1<<30 {
		out.SndSsthresh = 1<<31 - 1
	}
	out.Reordering, out.RcvOooPack = i.Reordering, i.RcvOOO
	out.ReordSeen, out.DSACKDups, out.TotalRTO = i.ReordSeen, i.DSACKDups, uint16(min(i.TotalRTO, 1<<16-1))
	out.Delivered, out.DeliveryRate = uint32(i.Delivered), i.DeliveryRate
	if i.AppLimited {
		out.AppLimited |= 1
	}
	out.RcvSpace, out.RcvSsthresh, out.RcvRTT = i.RcvSpace, i.RcvLimit, micros(i.RcvRTT)
	out.PacingRate, out.DeliveredCE = i.PacingRate, uint32(i.DeliveredCE)
	if i.PacingRate == 0 {
		out.PacingRate = 1<<64 - 1
	}
	if i.MaxPacingRate != 0 {
		out.MaxPacingRate = i.MaxPacingRate
	}
	out.BusyTime = uint64(micros(i.BusyTime))
	out.RwndLimited, out.SndbufLimited = uint64(micros(i.RwndLimited)), uint64(micros(i.SndbufLimited))
	out.TotalRetrans = uint32(i.TotalRetrans)
	out.BytesAcked, out.BytesReceived = i.BytesAcked, i.BytesReceived
	out.SegsOut, out.SegsIn = uint32(i.SegsOut), uint32(i.SegsIn)
	out.NotSent = uint32(s.unsent())
	out.DataSegsIn, out.DataSegOut = uint32(i.DataSegsIn), uint32(i.DataSegsOut)
	out.BytesSent, out.BytesRetrans = i.BytesSent+i.BytesRetrans, i.BytesRetrans
	out.SndWnd, out.RcvWnd = i.SndWnd, i.RcvWnd
	return out
}

func micros(d vtime.Duration) uint32 { return uint32(d / vtime.Microsecond) }

func millis(d vtime.Duration) uint32 { return uint32(d / vtime.Millisecond) }

// InfoField returns where the member that Linux calls name stands in [TCPInfo.Bytes].
func InfoField(name string) (off, size int, ok bool) {
	for _, f := range infoFields {
		if f.name == name {
			return f.off, f.size, true
		}
	}
	return 0, 0, false
}
