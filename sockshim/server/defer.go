package server

import (
	"slices"
	"time"

	"opentoe/tcpoffload/vtime"
)

// TCP_DEFER_ACCEPT: a connection is kept back from its listener's queue until its first octets or its end
// have come, or until Linux would have repeated the SYN-ACK for as long. In Linux the handshake stays open
// meanwhile; here it is complete, and only the program does not know. One that ends before it is shown never
// was, in either.
//
// At most as many as the listener's backlog are kept back, as Linux has no more in its queue of SYNs; what is
// beyond is shown at once, as Linux does by its cookies.

// Linux repeats a SYN-ACK after synAckFirst seconds, then after twice as long each time, but synAckMost at
// most, and not more often than synAckTimes.
const (
	synAckFirst = 1
	synAckMost  = 120
	synAckTimes = 255
)

// deferral returns for how long connections are kept back when the program has set so many seconds: rounded
// up to where Linux repeats the SYN-ACK.
func deferral(seconds uint32) vtime.Duration {
	if seconds == 0 {
		return 0
	}
	period, pause := uint32(synAckFirst), uint32(synAckFirst)
	for times := 1; period < seconds && times < synAckTimes; times++ {
		pause = min(2*pause, synAckMost)
		period += pause
	}
	return vtime.Duration(period) * vtime.Second
}

// keepBack keeps a new connection of ls back if the program wants that, and reports whether it did. [worker]
func (sh *share) keepBack(ls *listener, n uint32) bool {
	d, w := vtime.Duration(ls.deferral.Load()), sh.w
	if d == 0 {
		return false
	}
	if ls.kept.Add(1) > ls.backlog {
		ls.kept.Add(-1)
		return false
	}
	s := sh.sock(n)
	s.kept, s.uncounted, s.keptUntil = true, true, w.now.Add(d)
	sh.kept = append(sh.kept, n)
	sh.lookAfter(d)
	// The device counts it when this upcall returns. It is in no queue yet.
	_ = w.dev.Post(w.id, func(vtime.Time) { w.dev.Accepted(w.id, ls.id, 1) })
	return true
}

// lookAfter has showOverdue run in d, if it does not earlier. [worker]
func (sh *share) lookAfter(d vtime.Duration) {
	at := sh.w.now.Add(d)
	switch {
	case sh.keeper == nil:
		sh.keeper = time.AfterFunc(time.Duration(d), func() {
			_ = sh.w.dev.Post(sh.w.id, func(now vtime.Time) {
				if sh.w.share(sh.reg) == sh {
					sh.w.now = now
					sh.showOverdue()
				}
			})
		})
	case sh.looking && !at.Before(sh.lookAt):
		return
	default:
		sh.keeper.Reset(time.Duration(d))
	}
	sh.looking, sh.lookAt = true, at
}

// showOverdue shows the connections that were kept back for long enough. [worker]
func (sh *share) showOverdue() {
	sh.looking = false
	for _, n := range slices.Clone(sh.kept) {
		if !sh.w.now.Before(sh.sock(n).keptUntil) {
			sh.show(n)
		}
	}
	for _, n := range sh.kept {
		sh.lookAfter(sh.sock(n).keptUntil.Sub(sh.w.now))
	}
}

// show puts a connection that was kept back into its listener's queue. [worker]
func (sh *share) show(n uint32) {
	sh.unkeep(n)
	s, w := sh.sock(n), sh.w
	if ls, gen := s.listener, s.gen; !w.announce(ls, sh, n) {
		_ = w.dev.Post(w.id, func(vtime.Time) { w.refuse(ls, n, gen) })
	}
}

// unkeep forgets that connection n is kept back. [worker]
func (sh *share) unkeep(n uint32) {
	s := sh.sock(n)
	s.kept = false
	s.listener.kept.Add(-1)
	i := slices.Index(sh.kept, n)
	sh.kept = slices.Delete(sh.kept, i, i+1)
}
