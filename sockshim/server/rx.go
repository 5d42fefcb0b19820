package server

import (
	"sync/atomic"

	"opentoe/sockshim/shm"
	"opentoe/toe"
)

// The receive stream: the server takes chunks out of its own pool, writes octets and directory,
// and publishes rx_prod; the client reads and publishes rx_cons.

// Reserve reports whether chunks for n octets are there: those that the octets touch, and a
// directory that has to grow.
func (l *layer) Reserve(id toe.SockID, n uint32) bool {
	sh, _ := l.find(id)
	return sh != nil && sh.room(n)
}

// rxDirectories is how many directories a segment can take: three from level 0 to 2, and its octets may
// begin in a sub of their own and end in another.
const rxDirectories = 5

func (sh *share) room(n uint32) bool {
	ok := sh.chunks.Avail() >= int(n>>shm.ChunkShift)+2+rxDirectories+sh.rxFloor
	if !ok {
		sh.w.stats.NoChunks++
	}
	return ok
}

// Place copies b into the receive stream.
func (l *layer) Place(id toe.SockID, pos uint64, b []byte) {
	if sh, n := l.find(id); sh != nil {
		sh.place(n, pos, b)
	}
}

func (sh *share) place(n uint32, pos uint64, b []byte) {
	s := sh.sock(n)
	if !s.held {
		return // nobody reads it any more
	}
	if pos < s.rxProd {
		panic("server: device placed octets that were already readable")
	}
	for len(b) > 0 {
		e := sh.rxEntry(n, pos>>shm.ChunkShift)
		if e == nil {
			sh.violate(violationDirectory)
			return
		}
		c := atomic.LoadUint32(e)
		if c == 0 {
			if c = sh.chunks.Take(shm.Receive); c == 0 {
				panic("server: device placed octets without room")
			}
			atomic.StoreUint32(e, c)
		} else if sh.chunks.Use(c) != shm.Receive {
			sh.violate(violationDirectory)
			return
		}
		k := copy(sh.mem.Chunk(c)[pos%shm.ChunkBytes:], b)
		b, pos = b[k:], pos+uint64(k)
		s.rxEnd = max(s.rxEnd, pos)
	}
}

// rxEntry returns the directory entry for chunk index i of slot n's receive stream, growing the
// directory when it has to; nil when the client has spoilt it.
func (sh *share) rxEntry(n uint32, i uint64) *uint32 {
	s, p := sh.sock(n), sh.slot(n)
	first := s.rxCons >> shm.ChunkShift
	for i-first >= shm.DirSpan(shm.DirLevel(s.rxDir)) {
		if !sh.growRx(s, p, first) {
			return nil
		}
	}
	if shm.DirLevel(s.rxDir) == 2 {
		sub := &sh.mem.DirEntries(shm.DirRef(s.rxDir))[i/shm.DirChunk%shm.DirChunk]
		if atomic.LoadUint32(sub) == 0 {
			c := sh.newDirectory()
			atomic.StoreUint32(sub, c)
		}
		if sh.chunks.Use(atomic.LoadUint32(sub)) != shm.DirRx {
			return nil
		}
	}
	return sh.mem.Entry(&p.RxEntry, s.rxDir, i)
}

// newDirectory takes an empty directory chunk. Precondition: Reserve said that there is room.
func (sh *share) newDirectory() uint32 {
	c := sh.chunks.Take(shm.DirRx)
	if c == 0 {
		panic("server: device placed octets without room")
	}
	clear(sh.mem.DirEntries(c)[:])
	return c
}

// growRx replaces the directory by one of the next level with the same live entries, from chunk
// index first on. Readers may go on with the old one until it is freed, which is when the stream
// has passed everything in it.
func (sh *share) growRx(s *sock, p *shm.Slot, first uint64) bool {
	switch shm.DirLevel(s.rxDir) {
	case 0:
		c := sh.newDirectory()
		dir := sh.mem.DirEntries(c)
		for i := first; i < first+shm.DirInline; i++ {
			dir[i%shm.DirChunk] = atomic.LoadUint32(&p.RxEntry[i%shm.DirInline])
		}
		s.rxDir = shm.MakeDir(1, c)
	case 1:
		// The old directory is the sub of first's block; what it holds of the next block is copied
		// into a sub of its own.
		old := shm.DirRef(s.rxDir)
		top, next := sh.newDirectory(), sh.newDirectory()
		block := first / shm.DirChunk
		for i := range first % shm.DirChunk {
			sh.mem.DirEntries(next)[i] = atomic.LoadUint32(&sh.mem.DirEntries(old)[i])
		}
		sh.mem.DirEntries(top)[block%shm.DirChunk] = old
		sh.mem.DirEntries(top)[(block+1)%shm.DirChunk] = next
		s.rxDir = shm.MakeDir(2, top)
	default:
		return false // 256 GiB unread: no device does that
	}
	atomic.StoreUint32(&p.RxDir, s.rxDir)
	return true
}

// received tells the device what was read.
func (sh *share) received(s *sock) {
	if s.tid != 0 && s.rxTold != s.rxCons {
		s.rxTold = s.rxCons
		sh.w.dev.Received(s.tid, s.rxCons)
	}
}

// rxAck takes over the client's rx_cons, frees what was read, and reports whether that was honest.
func (sh *share) rxAck(n uint32) bool {
	s, p := sh.sock(n), sh.slot(n)
	cons := atomic.LoadUint64(&p.RxCons)
	if cons < s.rxCons || cons > s.rxProd {
		sh.violate(violationCursor)
		return false
	}
	if cons == s.rxCons {
		return true
	}
	if !sh.freeRx(s, p, cons) {
		sh.violate(violationDirectory)
		return false
	}
	return true
}

// freeRx frees the chunks and directories that the receive stream leaves behind at cons; when it
// is empty, all of them. It reports false when the client has spoilt the directory.
func (sh *share) freeRx(s *sock, p *shm.Slot, cons uint64) bool {
	first, end := s.rxCons>>shm.ChunkShift, cons>>shm.ChunkShift
	empty := cons == s.rxEnd
	if empty && cons%shm.ChunkBytes != 0 {
		end++
	}
	s.rxCons = cons
	for i := first; i < end; i++ {
		// No entry: a hole in a stream that is given up.
		if e := sh.mem.Entry(&p.RxEntry, s.rxDir, i); e != nil {
			if c := atomic.SwapUint32(e, 0); c != 0 && !sh.chunks.Give(c, shm.Receive) {
				return false
			}
		}
		if (i+1)%shm.DirChunk == 0 && !sh.freeRxSub(s, i) {
			return false
		}
	}
	if empty && s.rxDir != 0 {
		return sh.freeRxDir(s, p, end)
	}
	return true
}

// freeRxSub frees the second-level directory of chunk index i, if there is one.
func (sh *share) freeRxSub(s *sock, i uint64) bool {
	if shm.DirLevel(s.rxDir) != 2 {
		return true
	}
	sub := &sh.mem.DirEntries(shm.DirRef(s.rxDir))[i/shm.DirChunk%shm.DirChunk]
	c := atomic.SwapUint32(sub, 0)
	return c == 0 || sh.chunks.Give(c, shm.DirRx)
}

// freeRxDir goes back to the inline directory. Precondition: the stream is empty; a reader finds
// nothing to read, so that nobody is inside.
func (sh *share) freeRxDir(s *sock, p *shm.Slot, i uint64) bool {
	ok := sh.freeRxSub(s, i)
	if shm.DirLevel(s.rxDir) == 2 {
		ok = sh.freeRxSub(s, i+shm.DirChunk) && ok
	}
	ok = sh.chunks.Give(shm.DirRef(s.rxDir), shm.DirRx) && ok
	s.rxDir = 0
	for i := range p.RxEntry {
		atomic.StoreUint32(&p.RxEntry[i], 0) // what they named was moved when the directory grew
	}
	atomic.StoreUint32(&p.RxDir, 0)
	return ok
}
