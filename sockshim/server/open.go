package server

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// listener is a passive open that the device has accepted.
type listener struct {
	id      toe.ListenID
	reg     *region
	slot    uint32
	worker  int // the slot's; other workers reach the slot by Post
	backlog int32
	queued  atomic.Int32 // connections that wait for accept, all workers
	moved   atomic.Int64 // a vtime.Time: when one was last accepted, or began to wait where none did
	shut    atomic.Bool  // found stalled, and none was accepted since

	sndBuf, lowat atomic.Uint32 // for the connections; 0 default
	cc            atomic.Uint32 // a toe.CC and a pacing rate that the program has chosen, for the policy
	pacing        atomic.Uint64
	setting       atomic.Bool // the registry is being asked for a setting

	deferral atomic.Int64 // a vtime.Duration: TCP_DEFER_ACCEPT (defer.go)
	kept     atomic.Int32 // connections kept back, all workers

	client *toe.Client // who listens, for the policy
	v6     bool        // the socket is AF_INET6
	v6only bool        // valid only if v6
}

// cookie returns the SO_COOKIE that the client claims for the slot's placeholder.
func slotCookie(p *shm.Slot) uint64 {
	return uint64(atomic.LoadUint32(&p.CookieLo)) | uint64(atomic.LoadUint32(&p.CookieHi))<<32
}

// engage makes a lent slot a socket of the client that has region from, with a cookie that is its own for sure
// and what k, if not nil, holds for it. Precondition: the user's account has taken it. [worker]
func (sh *share) engage(n uint32, state sockState, from *region, cookie uint64, k *shown) {
	s := sh.sock(n)
	if !sh.slots.Move(n, shm.Lent, shm.InUse) {
		panic("server: slot was not lent") // our own accounting
	}
	sh.busy++
	s.state, s.held, s.owner, s.opened = state, true, from, true
	if k != nil {
		s.hold = k.hold
	}
	sh.claim(n, cookie)
}

// admit engages slot n if the client that has region from may open it with a local address and port; l is the
// listener, nil for an active open. If not, it answers.
func (sh *share) admit(n uint32, state sockState, from *region, addr wire.Addr, port uint16, l *toe.Listener) bool {
	if !sh.reg.account.open(&sh.w.l.srv.cfg, sh.w.now) {
		sh.declineQuota(n, from)
		return false
	}
	cookie := slotCookie(sh.slot(n)) // once: what the client writes there meanwhile was not shown
	k, reason, asked := sh.entitled(cookie, from, addr, port, l)
	if asked && reason == toe.Offloaded {
		sh.engage(n, state, from, cookie, k)
		if sh.w.l.engaged(k) {
			return true
		}
		sh.disengage(n)
		sh.answerShow(n) // who has it yet can do so
		return false
	}
	sh.reg.account.give()
	if asked {
		sh.decline(n, from, reason)
	} else {
		sh.answerShow(n)
	}
	return false
}

// declineQuota is decline for an open for which the user's quota is used up.
func (sh *share) declineQuota(n uint32, from *region) {
	answer := uint8(toe.ReasonQuota)
	if sh.w.l.srv.cfg.OverQuota == Refuse {
		answer = shm.ReasonNoBufs
	}
	sh.note(n, from, toe.ReasonQuota)
	sh.answerDeclined(n, answer)
}

// decline answers an open, of the client that has region from, that is not offloaded; the slot stays with
// the client.
func (sh *share) decline(n uint32, from *region, r toe.Reason) {
	sh.note(n, from, r)
	sh.answerDeclined(n, uint8(r))
}

// note counts and remembers an open, of the client that has region from, that is the kernel's.
func (sh *share) note(n uint32, from *region, r toe.Reason) {
	sh.w.stats.Declined[r]++
	if asker := sh.w.share(from); asker != nil {
		asker.declines.add(sh.w.now, sh.slot(n), r)
	}
}

// declineConnect is decline for an active open. One whose ports the device has in use is not for the
// kernel either: the client tries another port, or fails.
func (sh *share) declineConnect(n uint32, from *region, r toe.Reason) {
	if r != toe.ReasonInUse {
		sh.decline(n, from, r)
		return
	}
	sh.answerDeclined(n, shm.ReasonInUse)
	sh.w.stats.PortsInUse++
}

// answerDeclined tells the client, and counts nothing: r may ask for another worker or port.
func (sh *share) answerDeclined(n uint32, r uint8) {
	sh.slot(n).Reason = r
	sh.setState(n, shm.SlotDeclined)
}

// disengage undoes engage for an open that is declined after all.
func (sh *share) disengage(n uint32) {
	sh.disclaim(n)
	sh.reg.account.give()
	sh.w.l.release(sh.sock(n).hold)
	sh.slots.Move(n, shm.InUse, shm.Lent)
	sh.busy--
	sh.sock(n).reset(sockLent)
}

// reqAddr returns an address of the open's arguments in wire form, and whether it has the family.
func reqAddr(b [16]uint8, family uint16) (wire.Addr, bool) {
	a := wire.Addr(b)
	return a, a == wire.Addr{} || family == 6 || a.Is4()
}

func reqOptions(p *shm.Slot) toe.SocketOptions {
	o := toe.SocketOptions{
		RcvBuf:        atomic.LoadUint32(&p.ReqRcvbuf),
		SndBuf:        atomic.LoadUint32(&p.ReqSndbuf),
		MSS:           uint16(min(atomic.LoadUint32(&p.ReqMaxseg), 1<<16-1)),
		NoDelay:       p.ReqNodelay != 0,
		Keepalive:     p.ReqKeepalive != 0,
		CC:            toe.CC(p.ReqCc),
		MaxPacingRate: atomic.LoadUint64(&p.ReqMaxPacing),
		NotSentLowat:  atomic.LoadUint32(&p.ReqLowat),
		FastOpen:      min(atomic.LoadUint32(&p.ReqFastopenLen), backlogMax),
		FastOpenConn:  p.ReqFastopen&shm.FastOpenUse != 0,
		FastOpenHold:  p.ReqFastopen&shm.FastOpenHold != 0,
		FastOpenBare:  p.ReqFastopen&shm.FastOpenBare != 0,
		SynRetries:    min(p.ReqSynretries, synRetriesMax),
		RcvClamp:      atomic.LoadUint32(&p.ReqClamp),
		UserTimeout:   atomic.LoadUint32(&p.ReqUserTimeout),
		TOS:           p.ReqTos,
		TTL:           p.ReqTtl,
	}
	if o.NotSentLowat == lowatNone {
		o.NotSentLowat = 0
	}
	return o
}

// connect carries out ACT_OPEN_REQ.
func (sh *share) connect(n uint32, from *region) {
	w, p := sh.w, sh.slot(n)
	if sh.sock(n).state != sockLent {
		return
	}
	req := &w.creq
	family := p.ReqFamily
	local, ok1 := reqAddr(p.ReqLocalAddr, family)
	remote, ok2 := reqAddr(p.ReqRemoteAddr, family)
	*req = toe.ConnectRequest{
		Flow: wire.Flow{
			Local: local, Remote: remote, LocalPort: p.ReqLocalPort, RemotePort: p.ReqRemotePort,
		},
		Opt: reqOptions(p), Client: &from.owner.who,
	}
	f := &req.Flow
	if !ok1 || !ok2 || f.LocalPort == 0 || f.RemotePort == 0 || remote.IsUnspecified() ||
		!local.IsUnspecified() && local.Is4() != remote.Is4() {
		sh.decline(n, from, toe.ReasonInvalid)
		return
	}
	if remote.IsLinkLocal() || local.IsLinkLocal() {
		sh.decline(n, from, toe.ReasonLinkLocal) // the interface that it is of is not told
		return
	}
	if reason := w.mayConnect(from); reason != toe.Offloaded {
		sh.declineConnect(n, from, reason)
		return
	}
	if steer := w.dev.SteerConnect(f); steer != w.id {
		p.Steer = uint8(steer)
		sh.answerDeclined(n, shm.ReasonSteer)
		return
	}
	if !sh.admit(n, sockOpening, from, local, f.LocalPort, nil) {
		return
	}
	req.Sock = sh.id(n)
	tid, reason := w.dev.Connect(w.id, req)
	if reason != toe.Offloaded {
		sh.disengage(n)
		sh.declineConnect(n, from, reason)
		return
	}
	s := sh.sock(n)
	s.tid, s.pacingBound = tid, req.PacingBound
	sh.initTx(s, p, req.Opt.SndBuf, req.Opt.NotSentLowat)
	if w.dev.ConnInfo(tid, &w.info) {
		f = &w.info.Flow // with the local address that the device chose
	}
	setFlow(p, f)
	if req.SynRoom > 0 {
		s.early, p.SynRoom = true, uint16(min(req.SynRoom, 1<<16-1))
	}
	sh.setState(n, shm.SlotSynSent)
	w.stats.ActiveOpens++
}

// mayConnect asks the policy and the registry about w.creq.
func (w *worker) mayConnect(from *region) toe.Reason {
	if w.creq.Flow.Remote.Netip().IsLoopback() {
		return toe.ReasonLoopback
	}
	if policy := w.l.srv.cfg.Policy; policy != nil {
		w.query = from.query()
		w.query.Request = &w.creq
		if reason := policy(&w.query); reason != toe.Offloaded {
			return reason
		}
	}
	if reason := w.l.srv.cfg.Rules.Connect(&w.creq); reason != toe.Offloaded {
		return reason
	}
	dev, reason := w.l.srv.cfg.Registry.Route(&w.creq)
	if reason == toe.Offloaded && dev != w.dev {
		return toe.ReasonNoRoute
	}
	return reason
}

// initTx sets the send limit and the low-water mark of a new connection.
func (sh *share) initTx(s *sock, p *shm.Slot, sndbuf, lowat uint32) {
	atomic.StoreUint32(&p.TxLowat, lowat)
	s.txLimit = txLimitInitial
	if sndbuf != 0 {
		s.txLimit, s.txFixed = uint64(min(max(sndbuf, sndBufMin), sndBufMax)), true
	}
	atomic.StoreUint64(&p.TxLimit, s.txLimit)
}

// setFlow publishes a connection's addresses. They are visible with the next state.
func setFlow(p *shm.Slot, f *wire.Flow) {
	p.LocalAddr, p.RemoteAddr = f.Local, f.Remote
	p.LocalPort, p.RemotePort = f.LocalPort, f.RemotePort
	p.Family = 6
	if f.Remote.Is4() {
		p.Family = 4
	}
}

// listen carries out PASS_OPEN_REQ. The registry may wait for workers, so a goroutine asks it.
func (sh *share) listen(n uint32, from *region, backlog uint32) {
	w, p := sh.w, sh.slot(n)
	if sh.sock(n).state != sockLent {
		return
	}
	family := p.ReqFamily
	addr, ok := reqAddr(p.ReqLocalAddr, family)
	l := &toe.Listener{
		Addr: addr, Port: p.ReqLocalPort, V6: family == 6, V6Only: family == 6 && p.ReqV6only != 0,
		Backlog: int(min(max(backlog, 1), backlogMax)), Opt: reqOptions(p), Client: &from.owner.who,
	}
	l.Asked = l.Opt
	if p.ReqReuseport != 0 {
		l.Group = uint64(from.owner.cred.Uid) + 1 // only with others of the same user, as in Linux
	}
	if !ok || l.Port == 0 {
		sh.decline(n, from, toe.ReasonInvalid)
		return
	}
	if policy := w.l.srv.cfg.Policy; policy != nil {
		w.query = from.query()
		w.query.Listen, w.query.Address = true, l
		if reason := policy(&w.query); reason != toe.Offloaded {
			sh.decline(n, from, reason)
			return
		}
	}
	rules := w.l.srv.cfg.Rules
	loads, _ := rules.Loads()
	if reason := rules.Listen(l); reason != toe.Offloaded {
		sh.decline(n, from, reason)
		return
	}
	if !sh.admit(n, sockListening, from, l.Addr, l.Port, l) {
		return
	}
	gen, keepFor := sh.sock(n).gen, deferral(atomic.LoadUint32(&p.ReqDeferAccept))
	w.l.errands.add(func() {
		registry := w.l.srv.cfg.Registry
		l.ID = registry.NewListenID()
		ls := &listener{id: l.ID, reg: sh.reg, slot: n, worker: w.id, backlog: int32(l.Backlog), client: l.Client, v6: l.V6, v6only: l.V6Only}
		ls.sndBuf.Store(l.Opt.SndBuf)
		ls.lowat.Store(l.Opt.NotSentLowat)
		ls.cc.Store(uint32(l.Asked.CC))
		ls.pacing.Store(l.Asked.MaxPacingRate)
		ls.deferral.Store(int64(keepFor))
		w.l.register(ls, gen) // now: a connection may come before the device has answered
		reason := registry.ListenStart(l)
		if l.ID == 0 {
			w.l.unregister(ls)
		} else if now, _ := rules.Loads(); now != loads {
			registry.Reconsider(rules) // when the rules changed it was not there yet
		}
		err := w.dev.Post(w.id, func(now vtime.Time) {
			w.now = now
			sh.listening(n, gen, l, ls, reason)
		})
		if err != nil && l.ID != 0 {
			registry.ListenStop(l.ID)
		}
	})
}

// listening takes the answer to a listen. One that has an ID and a reason waits for its address: it is a listener
// of the TOE, whose connections all come by the kernel's queue for the time being.
func (sh *share) listening(n, gen uint32, l *toe.Listener, ls *listener, reason toe.Reason) {
	s := sh.sock(n)
	if sh.w.shares[sh.reg.id] != sh || s.gen != gen || s.state != sockListening {
		if l.ID != 0 {
			sh.w.l.unlisten(ls)
		}
		return
	}
	switch {
	case l.ID == 0 && s.stopping:
		sh.freeSlot(n)
	case l.ID == 0:
		from := s.owner
		sh.disengage(n)
		sh.decline(n, from, reason)
	default:
		if reason != toe.Offloaded {
			sh.note(n, s.owner, reason)
		}
		s.state, s.listener = sockListen, ls
		local := l.Addr
		if !l.V6 && local.IsUnspecified() {
			local = wire.AddrFrom4([4]byte{}) // 0.0.0.0, which operators tell from ::
		}
		setFlow(sh.slot(n), &wire.Flow{Local: local, LocalPort: l.Port})
		sh.setState(n, shm.SlotListen)
		sh.w.stats.Listens++
		if s.stopping {
			s.stopping = false
			sh.closeListener(n)
		}
	}
}

// register lets its slot, of the given generation, and then every worker know a listener. [control]
func (l *layer) register(ls *listener, gen uint32) {
	_ = l.dev.Do(ls.worker, func(vtime.Time) {
		if sh := l.workers[ls.worker].share(ls.reg); sh != nil {
			if s := sh.sock(ls.slot); s.gen == gen && s.state == sockListening {
				s.listener = ls
			}
		}
	})
	for _, w := range l.workers {
		_ = l.dev.Do(w.id, func(vtime.Time) { w.listeners[ls.id] = ls })
	}
}

// unregister undoes register for a listener that no device has taken. [control]
func (l *layer) unregister(ls *listener) {
	for _, w := range l.workers {
		_ = l.dev.Do(w.id, func(vtime.Time) { delete(w.listeners, ls.id) })
	}
}

// unlisten stops a listener on every worker and then frees its slot. [any thread, does not wait]
func (l *layer) unlisten(ls *listener) {
	l.errands.add(func() {
		l.srv.cfg.Registry.ListenStop(ls.id)
		for _, w := range l.workers {
			_ = l.dev.Do(w.id, func(vtime.Time) { w.forget(ls) })
		}
		w := l.workers[ls.worker]
		_ = l.dev.Do(w.id, func(vtime.Time) {
			if sh := w.share(ls.reg); sh != nil && sh.sock(ls.slot).listener == ls {
				sh.freeSlot(ls.slot)
			}
		})
	})
}

// Admits reports whether a connection more of listener id would find a slot, and its record the memory for
// it, beside those whose handshakes are under way. Many that are, as in a flood, count only up to
// admitReserve.
func (l *layer) Admits(wi int, id toe.ListenID, handshakes int) toe.Reason {
	w := l.workers[wi]
	ls := w.listeners[id]
	if ls == nil {
		return toe.Offloaded // it is about to be forgotten
	}
	sh := w.share(ls.reg)
	if sh == nil || sh.dead {
		return toe.Offloaded
	}
	reason := toe.Offloaded
	switch {
	case sh.slots.Avail() <= min(handshakes, admitReserve) || sh.chunks.Avail() < 2+rxDirectories+sh.rxFloor:
		reason = toe.ReasonNoMemory
	case l.srv.cfg.OverQuota == LeaveToKernel && ls.reg.account.full(&l.srv.cfg, min(handshakes, admitReserve)):
		reason = toe.ReasonQuota
	case w.turning() && ls.stalled(w.now):
		reason = toe.ReasonTurnedAway
	default:
		return toe.Offloaded
	}
	w.stats.Declined[reason]++
	if !w.now.Before(sh.noteAt) {
		sh.noteAt = w.now.Add(admitNote)
		sh.declines.add(w.now, sh.slot(ls.slot), reason)
	}
	return reason
}

// turning reports whether processes have lately been turned away.
func (w *worker) turning() bool {
	if n := w.l.srv.turned.Load(); n != w.turned {
		w.turned, w.turnedAt = n, w.now
	}
	return w.turned != 0 && w.now.Sub(w.turnedAt) < turnedFor
}

// stalled reports whether connections of ls wait that nobody accepts. A server's processes may all have been
// turned away, and what they accept then comes by the kernel's queue.
func (ls *listener) stalled(now vtime.Time) bool {
	if ls.queued.Load() > 0 && now.Sub(vtime.Time(ls.moved.Load())) >= stallTime {
		ls.shut.Store(true)
	}
	return ls.shut.Load()
}

// PassEstablish gives a new connection a slot of the listener's region and puts a record into the
// listener's receive stream.
func (l *layer) PassEstablish(wi int, id toe.ListenID, tid toe.TID, flow *wire.Flow) (toe.SockID, bool) {
	w := l.workers[wi]
	ls := w.listeners[id]
	if ls == nil {
		return 0, false
	}
	sh := w.share(ls.reg)
	if sh == nil || sh.dead || ls.queued.Load() > ls.backlog+acceptSlack {
		w.stats.AcceptOverflows++
		return 0, false
	}
	if !ls.reg.account.take(&l.srv.cfg) {
		w.stats.OverSockets++
		return 0, false
	}
	n := sh.takeSlot(shm.InUse, sockOpen)
	if n == 0 {
		ls.reg.account.give()
		w.stats.NoSlots++
		return 0, false
	}
	sh.busy++
	s, p := sh.sock(n), sh.slot(n)
	s.tid, s.held, s.listener = tid, true, ls
	sh.initTx(s, p, ls.sndBuf.Load(), ls.lowat.Load())
	setFlow(p, flow)
	atomic.StoreUint32(&p.State, shm.SlotEstablished)
	if !sh.keepBack(ls, n) && !w.announce(ls, sh, n) {
		sh.freeSlot(n)
		return 0, false
	}
	w.stats.PassiveOpens++
	chosen := toe.Chosen{CC: toe.CC(ls.cc.Load()), MaxPacingRate: ls.pacing.Load()}
	s.pacingBound = l.srv.cfg.Rules.Accept(ls.client, flow, chosen, func(o toe.Option, value int64) {
		if w.dev.SetOption(tid, o, value) != nil {
			w.stats.OptionsRefused++
		}
	})
	return sh.id(n), true
}

// announce puts connection n of this worker's share sh into its listener's queue, and reports whether there
// is room; if that is another worker's, what has found none is refused.
func (w *worker) announce(ls *listener, sh *share, n uint32) bool {
	gen := sh.sock(n).gen
	if w.id == ls.worker {
		return sh.enqueue(ls, n, gen)
	}
	return w.dev.Post(ls.worker, func(vtime.Time) {
		if o := w.l.workers[ls.worker].share(ls.reg); o == nil || !o.enqueue(ls, n, gen) {
			_ = w.dev.Post(w.id, func(vtime.Time) { w.refuse(ls, n, gen) })
		}
	}) == nil
}

// refuse resets a connection that found no place in its listener's accept queue.
func (w *worker) refuse(ls *listener, n, gen uint32) {
	if sh := w.share(ls.reg); sh != nil && sh.sock(n).gen == gen && sh.sock(n).unaccepted() {
		w.stats.AcceptOverflows++
		sh.abort(n)
	}
}

// enqueue appends a record to the listener's receive stream. It runs on the worker of the
// listener's slot.
func (sh *share) enqueue(ls *listener, n, gen uint32) bool {
	s, p := sh.sock(ls.slot), sh.slot(ls.slot)
	if s.state != sockListen && s.state != sockListening || s.listener != ls || s.stopping || !sh.room(shm.SizeofAccept) {
		return false
	}
	rec := shm.Accept{Slot: n, Gen: gen}.Bytes()
	sh.place(ls.slot, s.rxProd, rec[:])
	if sh.dead {
		return false
	}
	if ls.queued.Add(1) == 1 {
		ls.moved.Store(int64(sh.w.now))
	}
	s.rxProd += shm.SizeofAccept
	atomic.StoreUint64(&p.RxProd, s.rxProd)
	sh.wake(ls.slot)
	return true
}

// accepted carries out PASS_ACCEPT_RPL.
func (sh *share) accepted(n uint32, from *region) {
	s := sh.sock(n)
	if !s.unaccepted() || s.kept {
		return
	}
	s.accepted, s.owner = true, from
	sh.claim(n, slotCookie(sh.slot(n)))
	s.listener.queued.Add(-1)
	s.listener.moved.Store(int64(sh.w.now))
	s.listener.shut.Store(false)
	if !s.uncounted {
		sh.w.dev.Accepted(sh.w.id, s.listener.id, 1)
	}
}

// errnoOf translates an end for SO_ERROR; 0 for an orderly one.
func errnoOf(e toe.End, eof bool) unix.Errno {
	switch e {
	case toe.EndReset:
		if eof {
			return unix.EPIPE // as Linux does for a reset in CLOSE-WAIT
		}
		return unix.ECONNRESET
	case toe.EndDeviceGone:
		return unix.ECONNRESET
	case toe.EndRefused:
		return unix.ECONNREFUSED
	case toe.EndTimedOut:
		return unix.ETIMEDOUT
	case toe.EndUnreachable:
		return unix.EHOSTUNREACH
	case toe.EndAborted:
		return unix.ECONNABORTED
	}
	return 0
}
