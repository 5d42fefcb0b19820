package shm

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
)

// Pool hands out the numbers [base, base+n), last freed first, so that warm memory is used again.
// It believes only itself about who has what.
type Pool struct {
	base uint32
	use  []Use
	free []uint32
}

// NewPool returns a pool of the n numbers from base on, lowest first.
func NewPool(base, n uint32) Pool {
	p := Pool{base: base, use: make([]Use, n), free: make([]uint32, n)}
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
