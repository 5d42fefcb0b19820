package ports

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/pmd/frame"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// newTestException is an exception path without an interface, whose clock stands still.
func newTestException(t testing.TB, limit Rate) *exception {
	e, err := newException(limit, 1500+linkHeaders, func() vtime.Time { return vtime.Time(vtime.Second) })
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(e.wakeFD) })
	return e
}

// numbered is a frame of n octets that tells its number.
func numbered(i, n int) []byte {
	b := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, (n+1)/2)[:n]
	b[12], b[13] = 0x88, 0xb5 // an experimental type
	return b
}

// blanks fills b with empty frames of size octets.
func blanks(b *frame.Burst, size int) {
	for b.Room() > 0 {
		b.Push().Data = make([]byte, 0, size)
	}
}

// What goes up comes out in order and unchanged, what the ring cannot hold is counted.
func TestExceptionUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newTestException(t, Rate{})
		var got [][]byte
		ended := make(chan bool)
		bad := errors.New("the interface is down")
		go func() {
			e.feed(func(b []byte) error {
				if len(b) == 61 {
					return bad
				}
				got = append(got, bytes.Clone(b))
				return nil
			})
			close(ended)
		}()
		for i := range 5000 {
			e.Up(1, &frame.Frame{Data: numbered(i, 60+i%1400)})
			if i%100 == 0 {
				synctest.Wait() // it has all, and sleeps
			}
		}
		synctest.Wait()
		require.True(t, e.feeding.Load())
		var c KernelCounters
		e.counters(&c)
		require.EqualValues(t, 5000, c[KernelUp]+c[KernelUpRefused])
		require.EqualValues(t, 4, c[KernelUpRefused])
		require.Zero(t, c[KernelUpFull])
		i := 0
		for _, b := range got {
			for i%1400 == 1 {
				i++ // refused
			}
			require.Equal(t, numbered(i, 60+i%1400), b)
			i++
		}
		close(e.quit)
		<-ended

		// Nobody feeds the kernel any more: the ring fills up.
		for i := range 5000 {
			e.Up(1, &frame.Frame{Data: numbered(i, 1000)})
		}
		e.counters(&c)
		require.NotZero(t, c[KernelUpFull])
	})
}

// Frames beyond the rate are lost, but not those that a link needs.
func TestExceptionLimit(t *testing.T) {
	e := newTestException(t, Rate{Frames: 1000})
	for i := range 200 {
		e.Up(1, &frame.Frame{Data: numbered(i, 60)})
	}
	var c KernelCounters
	e.counters(&c)
	lost := c[KernelUpLimited]
	require.NotZero(t, lost)
	arp := make([]byte, 60)
	wire.PutEthernet(arp, wire.BroadcastMAC(), wire.MAC{2}, wire.TypeARP)
	nd := make([]byte, 80)
	wire.PutEthernet(nd, wire.MAC{0x33, 0x33}, wire.MAC{2}, wire.TypeIPv6)
	h := wire.IPHeader{Src: wire.Addr{0xfd, 1}, Dst: wire.Addr{0xff, 2}, Proto: wire.ProtoICMPv6, TTL: 255, Payload: 26}
	h.Put(nd[wire.EthernetLen:])
	for _, b := range [][]byte{arp, nd} {
		require.True(t, urgent(b))
		e.Up(1, &frame.Frame{Data: b})
	}
	require.False(t, urgent(nd[:20]))
	require.False(t, urgent(nil))
	c = KernelCounters{}
	e.counters(&c)
	require.Equal(t, lost, c[KernelUpLimited])
}

// What the kernel sends comes down in order, as far as there are frames for it and room to send.
func TestExceptionDown(t *testing.T) {
	e := newTestException(t, Rate{})
	var blank, tx frame.Burst
	require.False(t, e.Waiting())
	require.Zero(t, e.Down(&blank, &tx))
	for i := range exceptionBatch - 1 {
		require.True(t, e.take(numbered(i, 100)))
	}
	require.False(t, e.Waiting(), "a batch is shown at once")
	for i := exceptionBatch - 1; i < 100; i++ {
		require.True(t, e.take(numbered(i, 100)))
	}
	e.show()
	require.True(t, e.Waiting())
	require.Zero(t, e.Down(&blank, &tx), "without frames it waits")
	require.True(t, e.Waiting())

	blanks(&blank, 2048)
	blank.Truncate(10)
	require.Equal(t, 10, e.Down(&blank, &tx))
	require.Zero(t, blank.Len())
	blanks(&blank, 2048)
	require.Equal(t, frame.MaxBurst-10, e.Down(&blank, &tx), "until the burst is full")
	for i, f := range tx.Frames() {
		require.Equal(t, numbered(i, 100), f.Data)
	}
	tx.Truncate(0)
	require.Equal(t, 10, blank.Len())
	require.Equal(t, 10, e.Down(&blank, &tx))
	blanks(&blank, 2048)
	require.Equal(t, 100-frame.MaxBurst-10, e.Down(&blank, &tx))
	require.False(t, e.Waiting())

	// A frame that is larger than the port's is lost, the next is not.
	e.take(numbered(1, 1514))
	e.take(numbered(2, 100))
	e.show()
	var small frame.Burst
	blanks(&small, 1000)
	tx.Truncate(0)
	require.Equal(t, 1, e.Down(&small, &tx))
	require.Equal(t, numbered(2, 100), tx.At(0).Data)
	var c KernelCounters
	e.counters(&c)
	require.EqualValues(t, 1, c[KernelDownOversize])
	require.EqualValues(t, 102, c[KernelDown])
}

// A frame that is larger than the ring was kept room for is counted when it is lost there.
func TestExceptionDownHasNoRoomForLongerFrames(t *testing.T) {
	e := newTestException(t, Rate{})
	var taken uint64
	for ; e.down.fits(2000); taken++ {
		require.True(t, e.take(numbered(0, 1514)))
	}
	require.True(t, e.take(numbered(0, 9000)))
	e.show()
	var tx, blank frame.Burst
	var got uint64
	for e.Waiting() {
		blanks(&blank, 9000)
		got += uint64(e.Down(&blank, &tx))
		tx.Truncate(0)
		blank.Truncate(0)
	}
	require.Equal(t, taken, got)
	var c KernelCounters
	e.counters(&c)
	require.EqualValues(t, 1, c[KernelDownOversize])
}

// Who reads from the kernel waits while the ring is full, and goes on when the worker has made room.
func TestExceptionDownIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newTestException(t, Rate{})
		taken, ended := 0, make(chan bool)
		go func() {
			for e.room() && e.take(numbered(taken, 1514)) {
				taken++
			}
			close(ended)
		}()
		synctest.Wait()
		full := taken
		require.Greater(t, full, exceptionRing/2/1514)
		require.Less(t, full, exceptionRing/1514)
		var blank, tx frame.Burst
		next := 0
		for range 200 {
			blanks(&blank, 2048)
			for i := range e.Down(&blank, &tx) {
				require.Equal(t, numbered(next, 1514), tx.At(i).Data)
				next++
			}
			tx.Truncate(0)
			synctest.Wait()
		}
		require.Greater(t, next, 5*full)
		close(e.quit)
		<-ended
	})
}

// The kernel's sending is held to the rate, not cut.
func TestExceptionDownIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := vtime.Time(vtime.Second)
		e := newTestException(t, Rate{Frames: 1000})
		e.clock = func() vtime.Time { return now }
		done := make(chan bool)
		go func() {
			for i := range 100 {
				now = now.Add(vtime.Millisecond) // as long as a pause takes
				e.take(numbered(i, 60))
			}
			e.show()
			for i := range 100 { // at once
				e.take(numbered(i, 60))
				if e.out.paused.Load() > 0 {
					break
				}
			}
			close(done)
		}()
		synctest.Wait()
		require.EqualValues(t, 1, e.out.paused.Load())
		close(e.quit)
		<-done
	})
}

// A sleeping worker is woken by the first frame, and only then.
func TestExceptionWakesTheWorker(t *testing.T) {
	e := newTestException(t, Rate{})
	count := func() uint64 {
		var b [8]byte
		if n, err := unix.Read(e.WaitFD(), b[:]); err != nil || n != 8 {
			return 0
		}
		return uint64(b[0])
	}
	e.take(numbered(0, 60))
	e.show()
	require.Zero(t, count(), "it is awake")
	e.Sleep()
	e.show()
	require.Zero(t, count(), "nothing new")
	e.take(numbered(1, 60))
	e.show()
	require.EqualValues(t, 1, count())
	e.Awake()
	e.take(numbered(2, 60))
	e.show()
	require.Zero(t, count())
}

func TestExceptionDoesNotAllocate(t *testing.T) {
	e := newTestException(t, Rate{Frames: 1 << 30})
	f := frame.Frame{Data: numbered(1, 1000)}
	var blank, tx frame.Burst
	blanks(&blank, 2048)
	empty := *blank.At(0)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		e.Up(1, &f)
		e.take(f.Data)
		e.show()
		e.Down(&blank, &tx)
		tx.Truncate(0)
		*blank.Push() = empty
	}))
}

func BenchmarkExceptionUp(b *testing.B) {
	e := newTestException(b, Rate{Frames: 1 << 30})
	f := frame.Frame{Data: numbered(1, 1514)}
	var rec record
	for b.Loop() {
		e.Up(1, &f)
		e.up.peek(&rec)
		e.up.advance(&rec)
	}
}

func BenchmarkExceptionDown(b *testing.B) {
	e := newTestException(b, Rate{})
	data := numbered(1, 1514)
	var blank, tx frame.Burst
	blanks(&blank, 2048)
	empty := *blank.At(0)
	for b.Loop() {
		e.take(data)
		e.show()
		e.Down(&blank, &tx)
		tx.Truncate(0)
		*blank.Push() = empty
	}
}
