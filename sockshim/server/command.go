package server

import (
	"math"
	"sync/atomic"

	"opentoe/sockshim/shm"
	"opentoe/toe"
)

// deaf reports whether nothing is to come from the share's queue: the region has ended, or nobody is attached
// to it. Who has hung up may still write there, but then nobody would know when he goes.
func (sh *share) deaf() bool { return sh.dead || sh.silent }

// drainCommands handles up to budget commands of the share's queue and returns how many there
// were.
func (sh *share) drainCommands(budget int) int {
	if sh.deaf() {
		return 0
	}
	return sh.drainPosted(budget)
}

// drainPosted is drainCommands for what was posted by a client that has just gone, too.
func (sh *share) drainPosted(budget int) int {
	n := 0
	for n < budget && !sh.dead {
		c, ok := sh.cmds.Next()
		if !ok {
			break
		}
		n++
		if c.Op == 0 || c.Op >= numOps {
			sh.violate(violationOp)
			break
		}
		sh.w.stats.Commands[c.Op]++
		if target := sh.target(c); target != nil {
			target.command(sh.reg, c)
			target.refill = true // what the command used up was lent by the region of the slot
		}
	}
	if n > 0 && !sh.dead {
		sh.topUp()
	}
	return n
}

// drainAll handles all that any client posted before.
func (w *worker) drainAll() {
	for _, sh := range w.active {
		sh.drainCommands(shm.CmdEntries)
	}
}

// numOps is one more than the last command.
const numOps = shm.OpSlotReturn + 1

// target returns the share whose slot c names; nil after a violation, or if c came too late: a process that
// has said goodbye may write until it has ended, and is no longer attached to what is not its own. Its own
// region may be others' too, who have done nothing.
func (sh *share) target(c shm.Command) *share {
	t := sh
	if uint32(c.Region) != sh.reg.id {
		t = nil
		for _, o := range sh.names {
			if o.reg.id == uint32(c.Region) {
				t = o
			}
		}
		if t == nil {
			if !sh.reg.owner.ended.Load() {
				sh.violate(violationRegion)
			}
			return nil
		}
	}
	if !t.slots.Has(c.Slot) {
		sh.violate(violationSlot)
		return nil
	}
	return t
}

// command carries out c, which came from the client that has region from. A command for a slot
// that is not in the state for it, or that nobody holds any more, is a straggler of threads that raced,
// and does nothing.
func (sh *share) command(from *region, c shm.Command) {
	s, p := sh.sock(c.Slot), sh.slot(c.Slot)
	if sh.dead || s.state >= sockListening && !s.held {
		return
	}
	switch c.Op {
	case shm.OpActOpenReq:
		sh.connect(c.Slot, from)
	case shm.OpPassOpenReq:
		sh.listen(c.Slot, from, c.Arg)
	case shm.OpPassAcceptRpl:
		sh.accepted(c.Slot, from)
	case shm.OpTxData:
		atomic.AndUint32(&p.CmdPending, ^uint32(1<<shm.OpTxData))
		sh.rxData(c.Slot) // who writes has often read just before, and need not say so
		sh.txData(c.Slot, c.Flags&shm.TxMore != 0)
	case shm.OpRxDataAck:
		atomic.AndUint32(&p.CmdPending, ^uint32(1<<shm.OpRxDataAck))
		sh.rxData(c.Slot)
	case shm.OpShutdown:
		sh.shutdown(c.Slot, c.Arg)
	case shm.OpCloseConReq:
		sh.close(c.Slot)
	case shm.OpCloseShared:
		s.orderly = true
	case shm.OpAbortReq:
		sh.abort(c.Slot)
	case shm.OpSetTCBField:
		value := int64(atomic.LoadUint64(&p.ReqValue))
		if c.Arg == shm.OptSignals {
			sh.setSignals(c.Slot, from, value)
		} else {
			sh.setOption(c.Slot, c.Arg, value)
		}
	case shm.OpTxCreditReq:
		if (s.state == sockOpen || s.early) && !s.credit && len(sh.credit) < cap(sh.credit) {
			s.credit = true
			sh.credit = append(sh.credit, c.Slot)
		}
	case shm.OpSlotReturn:
		if s.state == sockLent {
			sh.freeSlot(c.Slot)
		}
	}
}

// rxData tells the device of what was read.
func (sh *share) rxData(n uint32) {
	if s := sh.sock(n); s.state >= sockListen && sh.rxAck(n) {
		sh.received(s)
	}
}

// txData tells the device of what was written.
func (sh *share) txData(n uint32, more bool) {
	s := sh.sock(n)
	if s.state != sockOpen && !s.early || s.txShut || sh.dead {
		return
	}
	told := s.txProd
	grown := sh.txAdvance(n)
	if s.tid == 0 || sh.dead || !grown && more {
		return
	}
	urg := atomic.LoadUint64(&sh.slot(n).TxUrg)
	if eor := atomic.LoadUint32(&sh.slot(n).EorProd); eor != s.eorCons {
		if told = sh.txBorders(n, told, urg, eor); sh.dead {
			return
		}
	}
	if urg > told && urg <= s.txProd {
		sh.w.dev.OutputUrgent(s.tid, urg)
		if urg == s.txProd {
			return
		}
	}
	sh.w.dev.Output(s.tid, s.txProd, more)
}

// txBorders tells the device of the borders of messages, of which the client has now noted eor, in what was
// written since told; and of an urgent octet at urg if a border comes after it. It returns how far that told
// the device. A border whose octets are not there yet waits for them.
func (sh *share) txBorders(n uint32, told, urg uint64, eor uint32) uint64 {
	s, p := sh.sock(n), sh.slot(n)
	if eor-s.eorCons > shm.EORs {
		sh.violate(violationCursor)
		return told
	}
	for ; s.eorCons != eor; s.eorCons++ {
		at := told + uint64(atomic.LoadUint32(&p.TxEor[s.eorCons%shm.EORs])-uint32(told))
		if at > s.txProd {
			break
		}
		if urg > told && urg <= at {
			sh.w.dev.OutputUrgent(s.tid, urg)
		}
		if at > told {
			sh.w.dev.OutputBorder(s.tid, at)
			told = at
		}
	}
	atomic.StoreUint32(&p.EorCons, s.eorCons)
	return told
}

// options translates TOE_OPT_*; 0 means none.
var options = [...]toe.Option{
	shm.OptNoDelay:     toe.OptionNoDelay,
	shm.OptCork:        toe.OptionCork,
	shm.OptKeepalive:   toe.OptionKeepalive,
	shm.OptKeepIdle:    toe.OptionKeepIdle,
	shm.OptKeepIntvl:   toe.OptionKeepIntvl,
	shm.OptKeepCnt:     toe.OptionKeepCnt,
	shm.OptRcvBuf:      toe.OptionRcvBuf,
	shm.OptQuickAck:    toe.OptionQuickAck,
	shm.OptUserTimeout: toe.OptionUserTimeout,
	shm.OptMaxSeg:      toe.OptionMaxSeg,
	shm.OptLinger2:     toe.OptionLinger2,
	shm.OptSndBuf:      toe.OptionSndBuf,

	shm.OptCC:            toe.OptionCC,
	shm.OptMaxPacingRate: toe.OptionMaxPacingRate,
	shm.OptNotSentLowat:  toe.OptionNotSentLowat,
	shm.OptPMTUDiscover:  toe.OptionPMTUDiscover,
	shm.OptFastOpen:      toe.OptionFastOpen,
	shm.OptTOS:           toe.OptionTOS,
	shm.OptTTL:           toe.OptionTTL,
	shm.OptFastOpenBare:  toe.OptionFastOpenBare,
	shm.OptSynRetries:    toe.OptionSynRetries,
	shm.OptRcvClamp:      toe.OptionRcvClamp,
}

// setOption changes a setting of an open connection or of a listener. What the device does not take is
// counted and otherwise forgotten: the placeholder has validated it.
func (sh *share) setOption(n, option uint32, value int64) {
	s := sh.sock(n)
	if option == shm.OptDeferAccept {
		if s.state == sockListen {
			s.listener.deferral.Store(int64(deferral(uint32(min(max(value, 0), math.MaxInt32)))))
		}
		return
	}
	if option >= uint32(len(options)) || options[option] == 0 {
		sh.violate(violationOption)
		return
	}
	if s.state == sockListen {
		sh.setListenOption(s, options[option], value)
		return
	}
	if s.state != sockOpen && s.state != sockOpening {
		return
	}
	switch option {
	case shm.OptSndBuf:
		value = min(max(value, sndBufMin), sndBufMax)
		sh.setSndBuf(n, uint64(value))
	case shm.OptNotSentLowat:
		sh.setLowat(n, value)
	case shm.OptMaxPacingRate:
		if b := s.pacingBound; b != 0 && (value == 0 || uint64(value) > b) {
			value = int64(b)
		}
	}
	if s.tid != 0 && sh.w.dev.SetOption(s.tid, options[option], value) != nil {
		sh.w.stats.OptionsRefused++
	}
}

// setListenOption changes what the connections of a listener start with. The registry may wait for
// workers, so a goroutine asks it, for one setting of a listener at a time: more are refused.
func (sh *share) setListenOption(s *sock, o toe.Option, value int64) {
	ls := s.listener
	if s.stopping || !ls.setting.CompareAndSwap(false, true) {
		sh.w.stats.OptionsRefused++
		return
	}
	if o == toe.OptionSndBuf {
		ls.sndBuf.Store(uint32(min(max(value, sndBufMin), sndBufMax)))
	}
	if o == toe.OptionNotSentLowat {
		ls.lowat.Store(uint32(min(max(value, 0), lowatNone)))
	}
	switch {
	case o == toe.OptionCC && 0 <= value && value <= 255:
		ls.cc.Store(uint32(value))
	case o == toe.OptionMaxPacingRate && value >= 0:
		ls.pacing.Store(uint64(value))
	}
	srv := sh.w.l.srv
	sh.w.l.errands.add(func() {
		if srv.cfg.Registry.ListenOption(srv.cfg.Rules, ls.id, o, value) != nil {
			srv.mu.Lock()
			srv.stats.OptionsRefused++
			srv.mu.Unlock()
		}
		ls.setting.Store(false)
	})
}

// lowatNone and more is no low-water mark at all, as in Linux.
const lowatNone = 1<<32 - 1

// setLowat sets TCP_NOTSENT_LOWAT. Until the device says otherwise, all that was written may be unsent.
func (sh *share) setLowat(n uint32, value int64) {
	p := sh.slot(n)
	if value < 0 || value >= lowatNone {
		value = 0
	}
	atomic.StoreUint32(&p.TxLowat, uint32(value))
	sh.wake(n)
}

// setSndBuf fixes how far the writer may be ahead. A lower limit holds for what is written from
// now on; the largest ever is what the client is held to.
func (sh *share) setSndBuf(n uint32, limit uint64) {
	s := sh.sock(n)
	s.txFixed = true
	s.txLimit = max(s.txLimit, limit)
	atomic.StoreUint64(&sh.slot(n).TxLimit, limit)
	sh.wake(n)
}
