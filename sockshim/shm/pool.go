package shm

import "slices"

// Use says what a slot or chunk is used for; kept privately by toed.
type Use uint8

// The uses.
const (
	Free    Use = iota
	Lent        // the client may put it to use
	InUse       // slots: a socket
	Receive     // chunks: octets of a receive stream
	Send        // chunks: octets of a send stream
	DirRx       // chunks: a directory of a receive stream
	DirTx       // chunks: a directory of a send stream
	Cold        // chunks: taken out by Pool.Cold
)

// Pool hands out the numbers [base, base+n), last freed first, so that warm memory is used again
// and what lies below is cold. It believes only itself about who has what.
type Pool struct {
	base  uint32
	use   []Use
	free  []uint32 // a stack
	clean int      // free[:clean] have no memory: never used, or put back by Chill
	low   int      // lowest height of the stack since the last Cold
}

// NewPool returns a pool of the n numbers from base on, lowest first.
func NewPool(base, n uint32) Pool {
	p := Pool{base: base, use: make([]Use, n), free: make([]uint32, n), clean: int(n), low: int(n)}
	for i := range p.free {
		p.free[i] = base + n - 1 - uint32(i)
	}
	return p
}

// Avail returns how many numbers are free.
func (p *Pool) Avail() int { return len(p.free) }

// Len returns how many numbers there are.
func (p *Pool) Len() int { return len(p.use) }

// Has reports whether v is one of the pool's numbers.
func (p *Pool) Has(v uint32) bool { return v-p.base < uint32(len(p.use)) }

// Use returns what v is used for; Free for a number that is not the pool's.
func (p *Pool) Use(v uint32) Use {
	if !p.Has(v) {
		return Free
	}
	return p.use[v-p.base]
}

// Take hands out a free number for u, or 0 when there is none.
func (p *Pool) Take(u Use) uint32 {
	n := len(p.free)
	if n == 0 {
		return 0
	}
	v := p.free[n-1]
	p.free = p.free[:n-1]
	p.low, p.clean = min(p.low, n-1), min(p.clean, n-1)
	p.use[v-p.base] = u
	return v
}

// Move changes v's use and reports whether it was from before.
func (p *Pool) Move(v uint32, from, to Use) bool {
	if !p.Has(v) || p.use[v-p.base] != from {
		return false
	}
	p.use[v-p.base] = to
	return true
}

// Give takes v back and reports whether its use was from; else nothing has changed.
// Precondition: from is not Free.
func (p *Pool) Give(v uint32, from Use) bool {
	if !p.Move(v, from, Free) {
		return false
	}
	p.free = append(p.free, v)
	return true
}

// TakeCold takes out up to limit free numbers that nobody has used since the call before and that
// have memory to give back, and appends them to dst. Chill puts them back.
func (p *Pool) TakeCold(dst []uint32, limit int) []uint32 {
	k := min(max(p.low-p.clean, 0), limit)
	list := p.free[p.clean : p.clean+k]
	for _, v := range list {
		p.use[v-p.base] = Cold
	}
	dst = append(dst, list...)
	p.free = slices.Delete(p.free, p.clean, p.clean+k)
	p.low = len(p.free)
	return dst
}

// Chill puts numbers from TakeCold back, whose memory has been given up: they are used last.
func (p *Pool) Chill(list []uint32) {
	for _, v := range list {
		p.use[v-p.base] = Free
	}
	p.free = slices.Insert(p.free, p.clean, list...)
	p.clean += len(list)
	p.low += len(list)
}
