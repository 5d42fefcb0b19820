package client

import (
	"os"
	"runtime"
	"sync/atomic"

	"opentoe/sockshim/shm"
)

// append copies as much of b to the end of the send stream as the limit and the loan allow, at
// most to the end of a chunk. starved says that it was the loan. Precondition: writeMu is held.
func (s *sock) append(b []byte) (n int, starved bool) {
	room := s.room()
	if room == 0 {
		return 0, false
	}
	s.lockTx()
	defer s.unlockTx()
	pos := s.p.TxProd
	i, off := pos>>shm.ChunkShift, int(pos%shm.ChunkBytes)
	n = int(min(uint64(len(b)), room, uint64(shm.ChunkBytes-off)))
	if !s.reach(i) {
		return 0, true
	}
	r := s.c.region
	e := r.Entry(&s.p.TxEntry, s.p.TxDir, i)
	c := uint32(0)
	if off != 0 { // else the entry is one that toed has long taken back
		c = atomic.OrUint32(e, shm.DirWriting) &^ shm.DirWriting
	}
	if c == 0 {
		if c = s.takeChunk(); c == 0 {
			atomic.StoreUint32(e, 0)
			return 0, true
		}
		atomic.StoreUint32(e, c|shm.DirWriting)
	}
	copy(r.Chunk(c)[off:], b[:n])
	atomic.StoreUint64(&s.p.TxProd, pos+uint64(n))
	atomic.AndUint32(e, ^uint32(shm.DirWriting))
	return n, false
}

// takeChunk takes a chunk out of the loan; 0 when there is none.
func (s *sock) takeChunk() uint32 {
	c := s.c.region.ChunkLoans[s.p.Worker].Take()
	if int(c) >= s.c.region.Chunks {
		return 0
	}
	return c
}

// reach makes the directory long enough for chunk index i; false when the loan has no chunk for it.
func (s *sock) reach(i uint64) bool {
	r := s.c.region
	first := atomic.LoadUint64(&s.p.TxCons) >> shm.ChunkShift
	level := shm.DirLevel(s.p.TxDir)
	if i-first < shm.DirSpan(level) {
		return level < 2 || s.sub(s.p.TxDir, i)
	}
	c := s.takeChunk()
	if c == 0 || level == 2 {
		return false
	}
	dir := shm.MakeDir(level+1, c)
	clear(r.DirEntries(c)[:])
	for j := first; j <= i; j++ {
		if level == 1 && !s.sub(dir, j) {
			return false // the chunk is lost until the socket's region ends
		}
		if j < i {
			atomic.StoreUint32(r.Entry(&s.p.TxEntry, dir, j), atomic.LoadUint32(r.Entry(&s.p.TxEntry, s.p.TxDir, j)))
		}
	}
	atomic.StoreUint32(&s.p.TxDir, dir)
	return true
}

// sub makes the second-level directory of chunk index i exist.
func (s *sock) sub(dir uint32, i uint64) bool {
	r := s.c.region
	e := &r.DirEntries(shm.DirRef(dir))[i/shm.DirChunk%shm.DirChunk]
	if atomic.LoadUint32(e) != 0 {
		return true
	}
	c := s.takeChunk()
	if c == 0 {
		return false
	}
	clear(r.DirEntries(c)[:])
	atomic.StoreUint32(e, c)
	return true
}

// lockTx takes the slot's writers' lock. writeMu keeps our own goroutines apart, so the other
// holder is toed, for a moment, taking back a chunk.
func (s *sock) lockTx() {
	me := uint32(os.Getpid())
	for !atomic.CompareAndSwapUint32(&s.p.TxLock, 0, me) {
		runtime.Gosched()
	}
}

func (s *sock) unlockTx() { atomic.StoreUint32(&s.p.TxLock, 0) }
