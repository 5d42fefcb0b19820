package server

import (
	"encoding/binary"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// probe answers whether the TCP socket in fds is offloaded. toed itself reads its cookie; but that a
// slot has this cookie is only its client's claim, and whoever is led to the slot gets the whole
// region with it, to read and to write. So both have to be of one user: nobody is led to the memory
// of somebody who means him harm, and nobody gets that of somebody who trusted him with one
// connection. A socket of another user's client answers EACCES: it is offloaded, and out of reach.
func (c *client) probe(m *shm.Msg, fds []int) ([]int, unix.Errno) {
	if len(fds) != 1 {
		return nil, unix.EINVAL
	}
	cookie, err := unix.GetsockoptUint64(fds[0], unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return nil, unix.EINVAL
	}
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	errno := unix.ENOENT
	var few [4]uint64
	for _, w := range c.l.workers {
		for _, at := range w.cookies.get(few[:0], cookie) {
			r := s.regions[uint32(at>>32)]
			if r == nil {
				continue
			}
			if r.owner.cred.Uid != c.cred.Uid && c.region(r.id) == nil {
				errno = unix.EACCES
				continue
			}
			if !c.probeAt(w, cookie, at, r, m) {
				continue
			}
			s.stats.Probes++
			known := c.region(r.id) != nil
			c.join(r)
			if known {
				return nil, 0
			}
			return []int{r.fd}, 0
		}
	}
	if errno == unix.EACCES {
		s.stats.ProbesRefused++
	}
	return nil, errno
}

// probeAt marks the socket at a place as shared and fills the answer, if the socket is there.
func (c *client) probeAt(w *worker, cookie, at uint64, r *region, m *shm.Msg) (found bool) {
	_ = c.l.dev.Do(w.id, func(vtime.Time) {
		sh, n := w.bySocket(cookie, at)
		if sh == nil || sh.reg != r {
			return
		}
		found = true
		sh.sock(n).shared = true
		atomic.StoreUint32(&sh.slot(n).Shared, 1)
		m.RegionId, m.Slot, m.Gen = r.id, n, sh.sock(n).gen
	})
	return found
}

// connInfo answers INFO with a struct tcp_info.
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
		k := sh.sock(m.Slot)
		switch {
		case m.Gen != 0 && m.Gen != k.gen: // the slot is another socket's by now
		case k.tid != 0:
			found = sh.w.dev.ConnInfo(k.tid, &info)
		case k.state == sockListen:
			info.State, found = "LISTEN", true
		case k.state == sockEnded:
			info.State, found = "CLOSED", true
		}
	})
	if !found {
		return unix.ENOENT
	}
	return putInfo(m, &info)
}

// putInfo puts a struct tcp_info into an answer. unix.TCPInfo is that structure, but has no field
// for the two octets of bit fields behind the options: encoding leaves them out.
func putInfo(m *shm.Msg, info *toe.ConnInfo) unix.Errno {
	ti := tcpInfo(info)
	n, err := binary.Encode(m.U[:], binary.NativeEndian, &ti)
	if err != nil {
		return unix.EPROTO
	}
	const bits, width = 6, 2
	copy(m.U[bits+width:], m.U[bits:n])
	m.U[bits], m.U[bits+1] = info.SndWscale&15|info.RcvWscale<<4, 0
	m.InfoLen = uint32(n + width)
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
)

// tcpInfo translates info to the kernel's form: times in microseconds, windows in segments.
func tcpInfo(info *toe.ConnInfo) unix.TCPInfo {
	us := func(d vtime.Duration) uint32 { return uint32(d / vtime.Microsecond) }
	mss := max(info.SndMSS, 1)
	ti := unix.TCPInfo{
		State: tcpStates[info.State], Ca_state: info.CAState, Backoff: info.Backoff,
		Retransmits: info.Backoff,
		Rto:         us(info.RTO), Snd_mss: info.SndMSS, Rcv_mss: info.RcvMSS,
		Unacked: info.Unacked, Sacked: info.Sacked, Lost: info.Lost, Retrans: info.Retrans,
		Rtt: us(info.SRTT), Rttvar: us(info.RTTVar), Min_rtt: us(info.MinRTT),
		Snd_ssthresh: info.Ssthresh / mss, Snd_cwnd: info.Cwnd / mss, Advmss: info.RcvMSS,
		Total_retrans: uint32(info.TotalRetrans),
		Bytes_acked:   info.BytesAcked, Bytes_received: info.BytesReceived,
		Bytes_sent: info.BytesSent, Bytes_retrans: info.BytesRetrans,
		Segs_out: uint32(info.SegsOut), Segs_in: uint32(info.SegsIn),
		Notsent_bytes: uint32(info.SndBufUsed - min(info.SndBufUsed, uint64(info.SndNxt-info.SndUna))),
		Rcv_space:     info.RcvWnd, Snd_wnd: info.SndWnd, Rcv_wnd: info.RcvWnd,
	}
	if info.SndWscale != 0 || info.RcvWscale != 0 {
		ti.Options |= optWScale
	}
	for bit, on := range map[uint8]bool{optTimestamps: info.Timestamps, optSACK: info.SACK, optECN: info.ECN} {
		if on {
			ti.Options |= bit
		}
	}
	return ti
}
