package daemon

import (
	"opentoe/cmd/internal/ctl"
	"opentoe/sockshim/server"
	"opentoe/toe"
)

// Sockets lists what programs hold, and behind it connections that nobody holds any more, such as
// those in TIME-WAIT. It implements [ctl.Daemon].
func (d *Daemon) Sockets(users bool) ([]ctl.Socket, error) {
	list := []ctl.Socket{} // in JSON an empty list, not null
	held := map[string]bool{}
	name := d.hw.device.Name()
	holders := d.holders(users)
	for _, s := range d.sockets.Sockets() {
		row := ctl.Socket{
			State: s.State, RecvQ: s.RecvQ, SendQ: s.SendQ, Local: s.Local.String(), Remote: s.Remote.String(),
			V6: s.V6, V6Only: s.V6Only, Program: s.Program, PID: int(s.PID), UID: s.UID,
			Users: usersOf(holders[s.Cookie]), Cookie: s.Cookie, Detached: s.Detached, Device: name, Worker: s.Worker,
		}
		if s.State == "LISTEN" {
			row.Remote, row.Kernel = "*", d.listensElsewhere(s.Listener)
		}
		if s.Conn != nil {
			row.TCP = tcpInfo(s.Conn)
		}
		// What has become TIME-WAIT is no more its socket's, which is closed.
		held[row.Local+row.Remote] = s.Conn != nil
		list = append(list, row)
	}
	d.eachConn(func(w int, info *toe.ConnInfo) {
		row := ctl.Socket{
			State: info.State, SendQ: info.SndBufUsed, Device: name, Worker: w, TCP: tcpInfo(info),
			Local: info.Flow.LocalAddrPort().String(), Remote: info.Flow.RemoteAddrPort().String(),
		}
		if !held[row.Local+row.Remote] {
			held[row.Local+row.Remote] = true
			list = append(list, row)
		}
	})
	return list, nil
}

// listensElsewhere returns the reason for which a listener's new connections are the kernel's; "" when they are
// the TOE's.
func (d *Daemon) listensElsewhere(id toe.ListenID) string {
	switch {
	case d.registry.Waits(id):
		return toe.ReasonLocalAddr.String()
	case d.registry.Draining():
		return toe.ReasonDraining.String()
	}
	return ""
}

// holders are the descriptors of programs, by cookie; none unless wanted.
func (d *Daemon) holders(wanted bool) map[uint64][]server.Holder {
	if !wanted {
		return nil
	}
	return d.sockets.Holders()
}

func usersOf(holders []server.Holder) (list []ctl.User) {
	for _, h := range holders {
		list = append(list, ctl.User{Program: h.Program, PID: int(h.PID), FD: h.FD})
	}
	return list
}

// Declines lists sockets that were left to the kernel. It implements [ctl.Daemon].
func (d *Daemon) Declines() ([]ctl.Decline, error) {
	list := []ctl.Decline{}
	declines := d.sockets.Declines()
	holders := d.holders(len(declines) > 0)
	for _, s := range declines {
		row := ctl.Decline{
			Time: s.Time, Role: "active", Local: s.Local.String(), Remote: s.Remote.String(),
			Reason: s.Reason.String(), Meaning: s.Reason.Meaning(),
			Program: s.Program, PID: int(s.PID), UID: s.UID, Gone: s.Gone, Users: usersOf(holders[s.Cookie]),
		}
		if s.Listen {
			row.Role, row.Remote = "passive", "*"
		}
		list = append(list, row)
	}
	return list, nil
}

func tcpInfo(c *toe.ConnInfo) *ctl.TCPInfo {
	t := &ctl.TCPInfo{
		RTTNS: int64(c.SRTT), RTTVarNS: int64(c.RTTVar), RTONS: int64(c.RTO), MinRTTNS: int64(c.MinRTT), ATONS: int64(c.ATO),
		MSS: c.SndMSS, RcvMSS: c.RcvMSS, AdvMSS: c.AdvMSS, PathMTU: c.PathMTU,
		Cwnd: c.Cwnd, Ssthresh: c.Ssthresh, SndWnd: c.SndWnd, RcvWnd: c.RcvWnd,
		SndWscale: c.SndWscale, RcvWscale: c.RcvWscale, SACK: c.SACK, Timestamps: c.Timestamps,
		ECN: c.ECN, ECNSeen: c.ECNSeen, FastOpen: c.SynData,
		CC: c.CC, CAState: c.CAState, Backoff: c.Backoff, Probes: c.Probes,
		Unacked: c.Unacked, Sacked: c.Sacked, Lost: c.Lost, RetransNow: c.Retrans, Retrans: c.TotalRetrans,
		BytesSent: c.BytesSent, BytesAcked: c.BytesAcked, BytesReceived: c.BytesReceived, BytesRetrans: c.BytesRetrans,
		SegsOut: c.SegsOut, SegsIn: c.SegsIn, DataSegsOut: c.DataSegsOut, DataSegsIn: c.DataSegsIn,
		NotSent:    c.SndBufUsed - min(c.SndBufUsed, uint64(c.SndNxt-c.SndUna)),
		PacingRate: c.PacingRate, MaxPacingRate: c.MaxPacingRate, DeliveryRate: c.DeliveryRate, AppLimited: c.AppLimited,
		Delivered: c.Delivered, DeliveredCE: c.DeliveredCE, DSACKDups: c.DSACKDups,
		Reordering: c.Reordering, ReordSeen: c.ReordSeen, RcvOOO: c.RcvOOO,
		RcvRTTNS: int64(c.RcvRTT), RcvSpace: c.RcvSpace, RcvSsthresh: c.RcvLimit,
		LastSndNS: int64(c.LastDataSent), LastRcvNS: int64(c.LastDataRecv), LastAckNS: int64(c.LastAckRecv),
		BusyNS: int64(c.BusyTime), RwndLimitedNS: int64(c.RwndLimited), SndBufLimNS: int64(c.SndbufLimited),
		Timer: c.Timer, TimerLeftNS: int64(c.TimerLeft),
	}
	switch c.CC {
	case "bbr":
		t.BBR = &ctl.BBR{
			Bandwidth: c.BBR.Bandwidth, MinRTTNS: int64(c.BBR.MinRTT), PacingGain: c.BBR.PacingGain, CwndGain: c.BBR.CwndGain,
		}
	case "dctcp":
		t.DCTCP = &ctl.DCTCP{Alpha: c.DCTCP.Alpha, Marked: c.DCTCP.MarkedOctets, Acked: c.DCTCP.AckedOctets}
	}
	return t
}
