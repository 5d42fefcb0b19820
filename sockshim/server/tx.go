package server

import (
	"sync/atomic"

	"opentoe/sockshim/shm"
	"opentoe/toe"
)

// The send stream: the client takes chunks out of the loan, writes octets and directory, and
// publishes tx_prod; the server checks what was added, fetches octets when the device wants them,
// and frees chunks when they are acknowledged.

// Fetch copies octets out of the send stream.
func (l *layer) Fetch(id toe.SockID, pos uint64, b []byte) bool {
	sh, n := l.find(id)
	if sh == nil {
		return false
	}
	s := sh.sock(n)
	end := pos + uint64(len(b))
	if end > s.txProd {
		panic("server: device fetched octets that were never announced")
	}
	s.txSeen = max(s.txSeen, end)
	if !sh.mem.ReadStream(&sh.slot(n).TxEntry, s.txDir, pos, b) {
		sh.violate(violationDirectory)
		return false
	}
	return true
}

// txAdvance takes over the client's tx_prod: checks it, and claims the chunks and directories that
// it brings. It reports whether the stream has grown.
func (sh *share) txAdvance(n uint32) bool {
	s, p := sh.sock(n), sh.slot(n)
	prod := atomic.LoadUint64(&p.TxProd)
	if prod < s.txProd || prod-s.txCons > s.txLimit {
		sh.violate(violationCursor)
		return false
	}
	if prod == s.txProd {
		return false
	}
	dir := atomic.LoadUint32(&p.TxDir)
	last := (prod - 1) >> shm.ChunkShift
	if dir != s.txDir && !sh.claimTxDir(s, p, dir) ||
		last-s.txCons>>shm.ChunkShift >= shm.DirSpan(shm.DirLevel(dir)) {
		sh.violate(violationDirectory)
		return false
	}
	for i := s.txProd >> shm.ChunkShift; i <= last; i++ {
		if !sh.claimTxSub(s, i) || !sh.claimTxChunk(s, p, i) {
			sh.violate(violationChunk)
			return false
		}
	}
	s.txProd = prod
	return true
}

// claimTxChunk checks that entry i names a chunk that was lent, or the one that the stream's last
// octets are in.
func (sh *share) claimTxChunk(s *sock, p *shm.Slot, i uint64) bool {
	e := sh.mem.Entry(&p.TxEntry, s.txDir, i)
	if e == nil {
		return false
	}
	c := atomic.LoadUint32(e) &^ shm.DirWriting
	if sh.chunks.Move(c, shm.Lent, shm.Send) {
		return true
	}
	return i == s.txProd>>shm.ChunkShift && s.txProd%shm.ChunkBytes != 0 && sh.chunks.Use(c) == shm.Send
}

// claimTxDir takes over a new directory: of a higher level, or, when the stream is empty, any. The
// old one is freed unless it went on as a sub.
func (sh *share) claimTxDir(s *sock, p *shm.Slot, dir uint32) bool {
	level, old := shm.DirLevel(dir), s.txDir
	empty := s.txProd == s.txCons
	if level > 2 || level == 0 && dir != 0 || level <= shm.DirLevel(old) && !empty {
		return false
	}
	if dir != 0 && !sh.chunks.Move(shm.DirRef(dir), shm.Lent, shm.DirTx) {
		return false
	}
	first, last := s.txCons/shm.ChunkBytes/shm.DirChunk, s.txProd/shm.ChunkBytes/shm.DirChunk
	if empty {
		sh.freeTxTail(s, p, dir)
	}
	if shm.DirLevel(old) == 2 {
		sh.freeTxSubs(old, first, last)
	}
	s.txDir = dir
	kept := false
	if level == 2 && !empty {
		for b := first; b <= last; b++ {
			sub := atomic.LoadUint32(&sh.mem.DirEntries(shm.DirRef(dir))[b%shm.DirChunk])
			if sub == shm.DirRef(old) && old != 0 {
				kept = true
			} else if !sh.claimTxSub(s, b*shm.DirChunk) {
				return false
			}
		}
	}
	if old != 0 && !kept {
		sh.chunks.Give(shm.DirRef(old), shm.DirTx)
	}
	return true
}

// freeTxTail frees the chunk that an empty stream ends in, unless the new directory goes on with it.
func (sh *share) freeTxTail(s *sock, p *shm.Slot, dir uint32) {
	i := s.txCons >> shm.ChunkShift
	old := sh.mem.Entry(&p.TxEntry, s.txDir, i)
	if old == nil || s.txCons%shm.ChunkBytes == 0 {
		return
	}
	c := atomic.LoadUint32(old) &^ shm.DirWriting
	next := sh.mem.Entry(&p.TxEntry, dir, i)
	if next == nil || next != old && atomic.LoadUint32(next)&^shm.DirWriting != c {
		sh.chunks.Give(c, shm.Send)
	}
}

// claimTxSub claims the second-level directory of chunk index i.
func (sh *share) claimTxSub(s *sock, i uint64) bool {
	if shm.DirLevel(s.txDir) != 2 {
		return true
	}
	c := atomic.LoadUint32(&sh.mem.DirEntries(shm.DirRef(s.txDir))[i/shm.DirChunk%shm.DirChunk])
	return sh.chunks.Use(c) == shm.DirTx || sh.chunks.Move(c, shm.Lent, shm.DirTx)
}

// freeTxSubs frees the second-level directories of blocks first to last of dir.
func (sh *share) freeTxSubs(dir uint32, first, last uint64) {
	for b := first; b <= last; b++ {
		c := atomic.SwapUint32(&sh.mem.DirEntries(shm.DirRef(dir))[b%shm.DirChunk], 0)
		sh.chunks.Give(c, shm.DirTx)
	}
}

// acked moves tx_cons, freeing the chunks that it passes, and lets a writer go on who waits.
func (sh *share) acked(n uint32, pos uint64) {
	s, p := sh.sock(n), sh.slot(n)
	if pos <= s.txCons {
		return
	}
	if pos > s.txProd {
		panic("server: device acknowledged octets that were never announced")
	}
	sh.freeTx(s, p, pos)
	atomic.StoreUint64(&p.TxCons, pos)
	atomic.AddUint32(&p.EventSeq, 1)
	if pos == s.txProd {
		sh.noteQuiet(n)
	}
	if atomic.LoadUint32(&p.TxNospace) == 0 {
		return
	}
	// The writer is held up by the limit. If the device has sent nearly all there is, a higher
	// limit lets it send more.
	ahead := s.txProd - pos
	if !s.txFixed && s.txLimit < txLimitMax && s.txProd-min(s.txSeen, s.txProd) < s.txLimit/4 &&
		sh.chunks.Avail() > sh.chunks.Len()/4 {
		s.txLimit = min(2*s.txLimit, txLimitMax)
		atomic.StoreUint64(&p.TxLimit, s.txLimit)
	}
	limit := atomic.LoadUint64(&p.TxLimit)
	if ahead+limit/3 <= limit && sh.belowLowat(s, p) && atomic.SwapUint32(&p.TxNospace, 0) != 0 {
		sh.wake(n)
	}
}

// belowLowat reports whether less is unsent, as far as the client knows, than its low-water mark.
func (sh *share) belowLowat(s *sock, p *shm.Slot) bool {
	lowat := atomic.LoadUint32(&p.TxLowat)
	return lowat == 0 || s.txProd-min(max(s.txCons, s.txTold), s.txProd) < uint64(lowat)
}

// sent publishes how much of the send stream was sent, and lets a writer go on who waits for that.
func (sh *share) sent(n uint32, pos uint64) {
	s, p := sh.sock(n), sh.slot(n)
	if pos <= s.txTold {
		return
	}
	s.txTold = pos
	atomic.StoreUint64(&p.TxSent, pos)
	limit := atomic.LoadUint64(&p.TxLimit)
	if s.txProd-s.txCons+limit/3 <= limit && atomic.SwapUint32(&p.TxNospace, 0) != 0 {
		sh.wake(n)
	}
}

// tuned takes the device's opinion of how far the writer may be ahead. The limit only grows: the
// client is held to the largest that it was ever shown.
func (sh *share) tuned(n uint32, size uint64) {
	s, p := sh.sock(n), sh.slot(n)
	if size = min(size, sndBufMax); s.txFixed || size <= s.txLimit || sh.chunks.Avail() <= sh.chunks.Len()/4 {
		return
	}
	s.txLimit = size
	atomic.StoreUint64(&p.TxLimit, size)
	if atomic.SwapUint32(&p.TxNospace, 0) != 0 {
		sh.wake(n)
	}
}

// freeTx frees the chunks and subs between tx_cons and pos and moves the private tx_cons. An
// entry that names none of our chunks is left alone: only the client's own memory is lost by it.
func (sh *share) freeTx(s *sock, p *shm.Slot, pos uint64) {
	for i := s.txCons >> shm.ChunkShift; i < pos>>shm.ChunkShift; i++ {
		if e := sh.mem.Entry(&p.TxEntry, s.txDir, i); e != nil {
			sh.chunks.Give(atomic.SwapUint32(e, 0)&^shm.DirWriting, shm.Send)
		}
		if (i+1)%shm.DirChunk == 0 && shm.DirLevel(s.txDir) == 2 {
			sh.freeTxSubs(s.txDir, i/shm.DirChunk, i/shm.DirChunk)
		}
	}
	s.txCons = pos
}

// takeTail takes back the chunk that slot n's empty send stream ends in. It does so under the
// writers' lock, for which it does not wait: a writer who has it will make the stream drain again.
func (sh *share) takeTail(n uint32) {
	s, p := sh.sock(n), sh.slot(n)
	if s.txCons != s.txProd || s.txCons%shm.ChunkBytes == 0 ||
		!atomic.CompareAndSwapUint32(&p.TxLock, 0, sh.w.thread) {
		return
	}
	if e := sh.mem.Entry(&p.TxEntry, s.txDir, s.txCons>>shm.ChunkShift); e != nil &&
		atomic.LoadUint64(&p.TxProd) == s.txCons && atomic.LoadUint32(&p.TxDir) == s.txDir {
		c := atomic.LoadUint32(e)
		if sh.chunks.Use(c) == shm.Send && atomic.CompareAndSwapUint32(e, c, 0) {
			sh.chunks.Give(c, shm.Send)
		}
	}
	if atomic.SwapUint32(&p.TxLock, 0)&shm.LockContended != 0 {
		shm.FutexWake(&p.TxLock)
	}
}

// topUp lends slots and chunks until the client has the target again, and serves the writers that
// wait for a chunk.
func (sh *share) topUp() {
	sh.refill = false
	if have, ok := sh.slotLoan.Len(); !ok {
		sh.violate(violationLoan)
		return
	} else {
		for ; have < sh.slotTarget; have++ {
			n := sh.takeSlot(shm.Lent, sockLent)
			if n == 0 {
				break
			}
			atomic.StoreUint32(&sh.slot(n).State, shm.SlotLoaned)
			sh.slotLoan.Push(n)
		}
	}
	have, ok := sh.chunkLoan.Len()
	if !ok {
		sh.violate(violationLoan)
		return
	}
	lent := false
	for ; have < sh.chunkTarget; have++ {
		c := sh.chunks.Take(shm.Lent)
		if c == 0 {
			break
		}
		sh.chunkLoan.Push(c)
		lent = true
	}
	if lent || have > 0 {
		sh.serveCredit()
	}
}

// serveCredit wakes the writers that found the loan empty.
func (sh *share) serveCredit() {
	for _, n := range sh.credit {
		if s := sh.sock(n); s.credit {
			s.credit = false
			atomic.StoreUint32(&sh.slot(n).TxNospace, 0)
			sh.wake(n)
		}
	}
	sh.credit = sh.credit[:0]
}

// freeStreams gives back every chunk of a socket that is over, also of what was written and never
// announced because the connection ended first.
func (sh *share) freeStreams(n uint32) {
	s, p := sh.sock(n), sh.slot(n)
	sh.freeRx(s, p, s.rxEnd)
	if s.state >= sockOpen && !sh.dead {
		sh.txAdvance(n)
	}
	sh.freeTx(s, p, s.txProd)
	// The chunk that the stream ends in, and one that was put in place but not announced.
	for i := s.txProd >> shm.ChunkShift; i <= s.txProd>>shm.ChunkShift+1; i++ {
		if e := sh.mem.Entry(&p.TxEntry, s.txDir, i); e != nil {
			c := atomic.SwapUint32(e, 0) &^ shm.DirWriting
			if !sh.chunks.Give(c, shm.Send) {
				sh.chunks.Give(c, shm.Lent)
			}
		}
	}
	if s.txDir != 0 {
		if shm.DirLevel(s.txDir) == 2 {
			b := s.txProd >> shm.ChunkShift / shm.DirChunk
			sh.freeTxSubs(s.txDir, b, b+1)
		}
		sh.chunks.Give(shm.DirRef(s.txDir), shm.DirTx)
		s.txDir = 0
	}
}
