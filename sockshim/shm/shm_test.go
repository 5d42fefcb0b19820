package shm

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func create(t testing.TB, g Geometry) (*Region, int) {
	t.Helper()
	r, fd, err := Create(g, 7)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = r.Close()
		unix.Close(fd)
	})
	return r, fd
}

var small = Geometry{Workers: 2, Slots: 9, Chunks: 33, EQs: 3}

func TestCreateOpen(t *testing.T) {
	r, fd := create(t, small)
	o, err := Open(fd)
	require.NoError(t, err)
	defer o.Close()
	require.Equal(t, small, o.Geometry)
	require.EqualValues(t, 7, o.Header.RegionId)
	require.NotZero(t, o.Header.Token)
	for _, n := range []int{len(o.CmdQs), len(o.SlotLoans), len(o.ChunkLoans)} {
		require.Equal(t, small.Workers, n)
	}
	require.Len(t, o.Slots, small.Slots)
	require.Len(t, o.EQs, small.EQs)
	r.Slots[8].RxProd = 42
	r.Chunk(32)[ChunkBytes-1] = 9
	require.EqualValues(t, 42, o.Slots[8].RxProd)
	require.EqualValues(t, 9, o.Chunk(32)[ChunkBytes-1])
	require.Panics(t, func() { o.Chunk(33) })

	require.False(t, o.Detached())
	r.Header.Detached = 1
	require.True(t, o.Detached())
}

func TestSealed(t *testing.T) {
	_, fd := create(t, small)
	require.ErrorIs(t, unix.Ftruncate(fd, 0), unix.EPERM)
	require.ErrorIs(t, unix.Ftruncate(fd, 1<<30), unix.EPERM)
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	require.ErrorIs(t, err, unix.EPERM)
}

// TestOpenRefuses: a header that is not what this ABI makes is refused, whatever is wrong with it.
func TestOpenRefuses(t *testing.T) {
	for i, spoil := range []func(*Header){
		func(h *Header) { h.Magic++ },
		func(h *Header) { h.Abi++ },
		func(h *Header) { h.RegionBytes += 4096 },
		func(h *Header) { h.Nslots += 64 },
		func(h *Header) { h.Nworkers = 0 },
		func(h *Header) { h.Nworkers = MaxWorkers + 1 },
		func(h *Header) { h.Nchunks = 1 << 31 },
		func(h *Header) { h.Neqs = 0 },
		func(h *Header) { h.CmdqOff += 64 },
		func(h *Header) { h.EqOff = 0 },
		func(h *Header) { h.SlotLoanOff++ },
		func(h *Header) { h.ChunkLoanOff-- },
		func(h *Header) { h.SlotOff = 1 << 60 },
		func(h *Header) { h.ChunkOff += 4096 },
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			r, fd := create(t, small)
			spoil(r.Header)
			_, err := Open(fd)
			require.Error(t, err)
		})
	}
	fd, err := CreateFile("short", 100)
	require.NoError(t, err)
	defer unix.Close(fd)
	_, err = Open(fd)
	require.Error(t, err)
}

func TestStatusPage(t *testing.T) {
	p, err := CreateStatus(2)
	require.NoError(t, err)
	defer p.Close()
	s, err := OpenStatus(p.FD())
	require.NoError(t, err)
	require.EqualValues(t, 1, s.Alive)
	require.EqualValues(t, 2, s.Nworkers)
	p.Worker[1].Sleeping = 1
	require.EqualValues(t, 1, s.Worker[1].Sleeping)
	_, err = unix.Mmap(p.FD(), 0, SizeofStatus, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.Error(t, err, "clients cannot write it")
}

// TestCmdQ has several producers overrun the queue; every command arrives once, each producer's in
// its order.
func TestCmdQ(t *testing.T) {
	r, _ := create(t, small)
	q := &r.CmdQs[1]
	const producers, each = 4, 5000
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				q.Post(Command{Op: uint8(p), Flags: 200, Region: 60000, Slot: uint32(i), Arg: ^uint32(i)},
					func() bool { return true })
			}
		})
	}
	cr := NewCmdReader(q)
	var next [producers]uint32
	for n := 0; n < producers*each; {
		c, ok := cr.Next()
		if !ok {
			require.True(t, cr.Empty() || n < producers*each)
			runtime.Gosched()
			continue
		}
		n++
		require.Equal(t, Command{Op: c.Op, Flags: 200, Region: 60000, Slot: next[c.Op], Arg: ^next[c.Op]}, c)
		next[c.Op]++
	}
	wg.Wait()
	require.True(t, cr.Empty())
	for range CmdEntries {
		require.True(t, q.Post(Command{Op: 1}, func() bool { return false }))
	}
	require.False(t, q.Post(Command{Op: 1}, func() bool { return false }), "full, and nobody will make room")
}

// signals is the second of what Push returns.
func signals(_, signal bool) bool { return signal }

// TestEQ has two workers push while the client pops: nothing is lost, or overflow says so.
func TestEQ(t *testing.T) {
	r, _ := create(t, small)
	eq := &r.EQs[0]
	var w EQWriter
	w.Reset(eq)
	require.EqualValues(t, 1, eq.Overflow, "a new owner looks at everything")
	eq.Overflow = 0
	var wg sync.WaitGroup
	const each = 20000
	for p := range uint32(2) {
		wg.Go(func() {
			for i := range uint32(each) {
				for {
					w.Push(p<<24 | (i + 1))
					if atomic.SwapUint32(&eq.Overflow, 0) == 0 {
						break
					}
					runtime.Gosched() // dropped, by whichever push it was: this one tries again
				}
			}
		})
	}
	seen := map[uint32]bool{}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for ended := false; ; {
		v := eq.Pop()
		if v != 0 {
			seen[v] = true
			continue
		}
		if ended {
			break
		}
		select {
		case <-done:
			ended = true
		default:
			runtime.Gosched()
		}
	}
	// A retry after the other's overflow may push twice, never lose more than overflows reported.
	require.Greater(t, len(seen), each)
	require.True(t, eq.Empty())
	require.False(t, signals(w.Push(5)), "nobody sleeps")
	eq.Sleeping = 1
	require.True(t, signals(w.Push(6)), "told to signal")
	require.False(t, signals(w.Push(7)), "once")
	require.Zero(t, eq.Sleeping)
	require.Equal(t, []uint32{5, 6, 7, 0}, []uint32{eq.Pop(), eq.Pop(), eq.Pop(), eq.Pop()})
	for range EQEntries {
		w.Push(1)
	}
	require.Zero(t, eq.Overflow)
	w.Push(2)
	require.EqualValues(t, 1, eq.Overflow)
}

// TestLoan has several takers; each number is taken once.
func TestLoan(t *testing.T) {
	r, _ := create(t, small)
	w := NewLoanWriter(&r.ChunkLoans[0])
	const total = 20000
	var mu sync.Mutex
	taken := map[uint32]int{}
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(total)
	for range 3 {
		wg.Go(func() {
			for left.Load() > 0 {
				if v := r.ChunkLoans[0].Take(); v != 0 {
					left.Add(-1)
					mu.Lock()
					taken[v]++
					mu.Unlock()
				} else {
					runtime.Gosched()
				}
			}
		})
	}
	for v := uint32(1); v <= total; {
		if n, ok := w.Len(); ok && n < LoanEntries {
			w.Push(v)
			v++
		} else {
			require.True(t, ok)
			runtime.Gosched()
		}
	}
	wg.Wait()
	require.Len(t, taken, total)
	for v, n := range taken {
		require.Equal(t, 1, n, v)
	}
	r.ChunkLoans[0].Cons++
	_, ok := w.Len()
	require.False(t, ok, "a cursor ahead of the producer's is nonsense")
}

func TestPool(t *testing.T) {
	p := NewPool(10, 4)
	require.Equal(t, 4, p.Avail())
	require.EqualValues(t, 10, p.Take(Send), "lowest first")
	require.EqualValues(t, 11, p.Take(Lent))
	require.True(t, p.Give(10, Send))
	require.EqualValues(t, 10, p.Take(Receive), "last freed first")
	require.False(t, p.Give(10, Send), "not what it is used for")
	require.False(t, p.Give(9, Free))
	require.False(t, p.Give(14, Send))
	require.False(t, p.Give(0, Send))
	require.True(t, p.Move(11, Lent, Send))
	require.False(t, p.Move(11, Lent, Send))
	require.Equal(t, Send, p.Use(11))
	require.Equal(t, Free, p.Use(99))
	require.NotZero(t, p.Take(Send))
	require.NotZero(t, p.Take(Send))
	require.Zero(t, p.Take(Send), "empty")
}

func TestPoolCold(t *testing.T) {
	p := NewPool(1, 8)
	require.Empty(t, p.TakeCold(nil, 100), "what was never used has no memory")
	var got []uint32
	for range 5 {
		got = append(got, p.Take(Send))
	}
	require.Equal(t, []uint32{1, 2, 3, 4, 5}, got)
	for _, v := range got {
		require.True(t, p.Give(v, Send))
	}
	require.Empty(t, p.TakeCold(nil, 100), "used since the last call")
	require.EqualValues(t, 5, p.Take(Send)) // the top: the others are cold
	require.Equal(t, []uint32{1, 2}, p.TakeCold(nil, 2))
	require.False(t, p.Give(1, Send))
	require.Equal(t, Cold, p.Use(1))
	p.Chill([]uint32{1, 2})
	require.Equal(t, 7, p.Avail())
	require.Equal(t, []uint32{3, 4}, p.TakeCold(nil, 100), "what was put back has no memory")
	p.Chill([]uint32{3, 4})
	var rest []uint32
	for v := p.Take(Send); v != 0; v = p.Take(Send) {
		rest = append(rest, v)
	}
	require.Equal(t, []uint32{4, 3, 2, 1, 6, 7, 8}, rest, "all are there, the untouched last")
}

// TestStream copies through directories of every level, across chunk borders.
func TestStream(t *testing.T) {
	r, _ := create(t, Geometry{Workers: 1, Slots: 2, Chunks: 64, EQs: 1})
	s := &r.Slots[1]
	// Chunks 1 and 2 are directories of level 2, 3 of level 1; 40 and on carry octets.
	r.DirEntries(1)[5] = 2
	for level, dir := range []uint32{0, MakeDir(1, 3), MakeDir(2, 1)} {
		t.Run(fmt.Sprint(level), func(t *testing.T) {
			require.Equal(t, level, DirLevel(dir))
			first := uint64(5*DirChunk + 3)
			for i := range uint64(4) {
				e := r.Entry(&s.RxEntry, dir, first+i)
				require.NotNil(t, e)
				*e = uint32(40+i) | DirWriting
			}
			in := make([]byte, 3*ChunkBytes)
			rand.NewChaCha8([32]byte{}).Read(in)
			pos := first*ChunkBytes + 777
			require.True(t, r.WriteStream(&s.RxEntry, dir, pos, in))
			out := make([]byte, len(in))
			require.True(t, r.ReadStream(&s.RxEntry, dir, pos, out))
			require.Equal(t, in, out)
			require.Equal(t, in[0], r.Chunk(40)[777])
			*r.Entry(&s.RxEntry, dir, first+1) = 0
			require.False(t, r.ReadStream(&s.RxEntry, dir, pos, out))
			*r.Entry(&s.RxEntry, dir, first+1) = 64
			require.False(t, r.ReadStream(&s.RxEntry, dir, pos, out), "no such chunk")
		})
	}
	for _, dir := range []uint32{MakeDir(1, 0), MakeDir(1, 64), MakeDir(2, 0), MakeDir(2, 99), MakeDir(3, 1), MakeDir(15, 1)} {
		require.Nil(t, r.Entry(&s.RxEntry, dir, 1), "%#x", dir)
	}
	require.Nil(t, r.Entry(&s.RxEntry, MakeDir(2, 1), 6*DirChunk), "no sub")
}

func TestMsg(t *testing.T) {
	m := Msg{Type: MsgHello, Seq: 3, Error: -5, Magic: Magic}
	m.SetProgram("a-program-with-a-long-name")
	require.NoError(t, m.SetAddrs([]AddrPrefix{{Addr: [16]byte{15: 1}, Prefix: 120, Mtu: 1500}}))
	b, err := m.Append(nil)
	require.NoError(t, err)
	require.Len(t, b, SizeofMsg)
	var got Msg
	require.NoError(t, got.Decode(b))
	require.Equal(t, m, got)
	require.Equal(t, "a-program-with-", got.Program())
	addrs, err := got.Addrs()
	require.NoError(t, err)
	require.Equal(t, []AddrPrefix{{Addr: [16]byte{15: 1}, Prefix: 120, Mtu: 1500}}, addrs)
	require.Error(t, got.Decode(b[1:]))
	got.Naddrs = 1 << 30
	_, err = got.Addrs()
	require.NoError(t, err, "a count out of range is cut")
	require.Equal(t, Accept{1, 2}, ParseAccept(Accept{1, 2}.Bytes()))
}

func BenchmarkCmdQ(b *testing.B) {
	r, _ := create(b, small)
	cr := NewCmdReader(&r.CmdQs[0])
	for b.Loop() {
		r.CmdQs[0].Post(Command{Op: 1, Slot: 1}, nil)
		cr.Next()
	}
}

func BenchmarkEQ(b *testing.B) {
	r, _ := create(b, small)
	var w EQWriter
	w.Reset(&r.EQs[0])
	for b.Loop() {
		w.Push(1)
		r.EQs[0].Pop()
	}
}
