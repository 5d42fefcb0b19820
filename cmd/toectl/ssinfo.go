package main

import (
	"fmt"
	"strconv"
	"time"

	"opentoe/cmd/internal/ctl"
)

// details returns what ss -i says of a connection, in its words and their order.
func details(t *ctl.TCPInfo) []string {
	d := &list{}
	d.word(t.Timestamps, "ts")
	d.word(t.SACK, "sack")
	d.word(t.ECN, "ecn")
	d.word(t.ECNSeen, "ecnseen")
	d.word(t.FastOpen, "fastopen")
	d.word(t.CC != "", t.CC)
	d.add(t.SndWscale|t.RcvWscale != 0, "wscale:%d,%d", t.SndWscale, t.RcvWscale)
	d.add(t.RTONS != 0, "rto:%s", millis(t.RTONS))
	d.add(t.Backoff != 0, "backoff:%d", t.Backoff)
	d.add(t.RTTNS != 0, "rtt:%s/%s", millis(t.RTTNS), millis(t.RTTVarNS))
	d.add(t.ATONS != 0, "ato:%s", millis(t.ATONS))
	d.number("mss", uint64(t.MSS))
	d.number("pmtu", uint64(t.PathMTU))
	d.number("rcvmss", uint64(t.RcvMSS))
	d.number("advmss", uint64(t.AdvMSS))
	mss := max(t.MSS, 1)
	d.number("cwnd", uint64(t.Cwnd/mss))
	d.add(t.Ssthresh != 0 && t.Ssthresh < infinite, "ssthresh:%d", t.Ssthresh/mss)
	d.number("bytes_sent", t.BytesSent+t.BytesRetrans)
	d.number("bytes_retrans", t.BytesRetrans)
	d.number("bytes_acked", t.BytesAcked)
	d.number("bytes_received", t.BytesReceived)
	d.number("segs_out", t.SegsOut)
	d.number("segs_in", t.SegsIn)
	d.number("data_segs_out", t.DataSegsOut)
	d.number("data_segs_in", t.DataSegsIn)
	d.model(t)
	d.rates(t, mss)
	d.number("delivered", t.Delivered)
	d.number("delivered_ce", t.DeliveredCE)
	d.word(t.AppLimited, "app_limited")
	d.share("busy", t.BusyNS, 0)
	d.share("rwnd_limited", t.RwndLimitedNS, t.BusyNS)
	d.share("sndbuf_limited", t.SndBufLimNS, t.BusyNS)
	d.number("unacked", uint64(t.Unacked))
	d.add(t.RetransNow != 0 || t.Retrans != 0, "retrans:%d/%d", t.RetransNow, t.Retrans)
	d.number("lost", uint64(t.Lost))
	d.number("sacked", uint64(t.Sacked))
	d.number("dsack_dups", uint64(t.DSACKDups))
	d.add(t.Reordering != 0 && t.Reordering != usualReordering, "reordering:%d", t.Reordering)
	d.number("reord_seen", uint64(t.ReordSeen))
	d.add(t.RcvRTTNS != 0, "rcv_rtt:%s", millis(t.RcvRTTNS))
	d.number("rcv_space", uint64(t.RcvSpace))
	d.number("rcv_ssthresh", uint64(t.RcvSsthresh))
	d.number("notsent", t.NotSent)
	d.add(t.MinRTTNS != 0, "minrtt:%s", millis(t.MinRTTNS))
	d.number("rcv_ooopack", uint64(t.RcvOOO))
	d.number("snd_wnd", uint64(t.SndWnd))
	d.number("rcv_wnd", uint64(t.RcvWnd))
	return d.words
}

// usualReordering is what ss does not mention; infinite is a threshold that was never set.
const (
	usualReordering = 3
	infinite        = 0x7fffffff
)

// list collects words.
type list struct{ words []string }

func (d *list) word(said bool, word string) { d.add(said, "%s", word) }

func (d *list) add(said bool, format string, args ...any) {
	if said {
		d.words = append(d.words, fmt.Sprintf(format, args...))
	}
}

// number adds what is not zero.
func (d *list) number(name string, v uint64) { d.add(v != 0, "%s:%d", name, v) }

// model adds what the congestion control tells.
func (d *list) model(t *ctl.TCPInfo) {
	if b := t.BBR; b != nil {
		d.add(true, "bbr:(bw:%s,mrtt:%s,pacing_gain:%s,cwnd_gain:%s)", rate(b.Bandwidth), millis(b.MinRTTNS),
			gain(b.PacingGain), gain(b.CwndGain))
	}
	if c := t.DCTCP; c != nil {
		d.add(true, "dctcp:(ce_state:%d,alpha:%d,ab_ecn:%d,ab_tot:%d)", t.CAState, c.Alpha, c.Marked, c.Acked)
	}
}

// rates adds what moves, and when it last did.
func (d *list) rates(t *ctl.TCPInfo, mss uint32) {
	if t.RTTNS > 0 && t.Cwnd > 0 {
		d.add(true, "send %s", rate(uint64(float64(t.Cwnd/mss*mss)/time.Duration(t.RTTNS).Seconds())))
	}
	for _, last := range []struct {
		name string
		ns   int64
	}{{"lastsnd", t.LastSndNS}, {"lastrcv", t.LastRcvNS}, {"lastack", t.LastAckNS}} {
		d.number(last.name, uint64(last.ns)/uint64(time.Millisecond))
	}
	switch {
	case t.MaxPacingRate != 0:
		d.add(true, "pacing_rate %s/%s", rate(t.PacingRate), rate(t.MaxPacingRate))
	case t.PacingRate != 0:
		d.add(true, "pacing_rate %s", rate(t.PacingRate))
	}
	d.add(t.DeliveryRate != 0, "delivery_rate %s", rate(t.DeliveryRate))
}

// share adds a sum of time, and its part of the whole.
func (d *list) share(name string, ns, whole int64) {
	ms := ns / int64(time.Millisecond)
	switch {
	case ms == 0:
	case whole > 0:
		d.add(true, "%s:%dms(%.1f%%)", name, ms, 100*float64(ns)/float64(whole))
	default:
		d.add(true, "%s:%dms", name, ms)
	}
}

// millis writes a time in milliseconds, as exactly as microseconds are.
func millis(ns int64) string {
	return strconv.FormatFloat(float64(ns/int64(time.Microsecond))/1000, 'g', 6, 64)
}

func gain(v uint32) string { return strconv.FormatFloat(float64(v)/256, 'g', 6, 64) }

// rate writes octets per second in bits: "12.3Mbps".
func rate(octets uint64) string {
	bits := float64(octets) * 8
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if bits >= unit.size {
			return strconv.FormatFloat(bits/unit.size, 'g', 3, 64) + unit.name + "bps"
		}
	}
	return fmt.Sprintf("%.0fbps", bits)
}

// timer writes a connection's timer as ss -o does: what it is for, when it expires, how often it has.
func timer(t *ctl.TCPInfo) string {
	again := t.Backoff
	if t.Timer == "persist" || t.Timer == "keepalive" {
		again = t.Probes
	}
	return fmt.Sprintf("timer:(%s,%s,%d)", t.Timer, countdown(time.Duration(t.TimerLeftNS)), again)
}

// countdown writes a time as ss does: "1min59sec", "12sec", "2.024ms" with three digits for milliseconds.
func countdown(d time.Duration) string {
	minutes, rest := d/time.Minute, d%time.Minute
	seconds, ms := rest/time.Second, rest%time.Second/time.Millisecond
	s := ""
	if minutes > 0 {
		s += fmt.Sprintf("%dmin", minutes)
	}
	switch {
	case minutes > 9:
	case seconds > 0 && (minutes > 0 || seconds > 9 || ms == 0):
		s += fmt.Sprintf("%dsec", seconds)
	case seconds > 0:
		s += fmt.Sprintf("%d.%03dms", seconds, ms) // ss says ms, and means a second and its parts
	case minutes == 0:
		s += fmt.Sprintf("%dms", ms)
	}
	return s
}
