package hwregs

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cell is a piece of live state for tests.
type cell struct{ v, most uint64 }

var errTooMuch = errors.New("more than the engine takes")

func (c *cell) binding() Binding {
	return Binding{
		Get: func() uint64 { return c.v },
		Set: func(v uint64) error {
			if v > c.most {
				return errTooMuch
			}
			c.v = v
			return nil
		},
	}
}

func bind(t *testing.T, b *Bank, name string, v uint64) *cell {
	t.Helper()
	c := &cell{v: v, most: math.MaxUint64}
	require.NoError(t, b.Bind(name, c.binding()))
	return c
}

func rejected(t *testing.T, b *Bank) uint32 {
	t.Helper()
	n, err := b.Read(A_PL_ERR)
	require.NoError(t, err)
	return n
}

func TestMapIsConsistent(t *testing.T) {
	names, addrs := map[string]bool{}, map[uint32]string{}
	last := uint32(0)
	for _, blk := range Blocks() {
		require.Greater(t, blk.Base, last, blk.Name)
		for n := range blk.Count {
			for i := range blk.Regs {
				r := &blk.Regs[i]
				name := blk.instanceName(r, n)
				require.False(t, names[name], name)
				names[name] = true
				size := uint32(4)
				if r.Wide {
					size = 8
					require.Empty(t, r.Fields, name)
				}
				for off := uint32(0); off < size; off += 4 {
					a := blk.Base + uint32(n)*blk.Stride + r.Offset + off
					require.Zero(t, a%4, name)
					require.Empty(t, addrs[a], name)
					addrs[a] = name
					last = max(last, a)
				}
				if blk.Count > 1 {
					require.Less(t, r.Offset+size, blk.Stride+1, name)
				}
				require.True(t, strings.HasPrefix(r.Name, blk.Name+"_"), name)
				require.Equal(t, r.Access == IDX, r.Index != "", name)
				require.NotEmpty(t, r.Doc, name)
				checkFields(t, r, n == 0, names)
			}
		}
	}
}

func checkFields(t *testing.T, r *Reg, first bool, names map[string]bool) {
	var used, top uint32
	top = 32
	for i := range r.Fields {
		f := &r.Fields[i]
		require.LessOrEqual(t, uint32(f.Bit+f.Len), top, "fields of %s: from the highest bit down", r.Name)
		top = uint32(f.Bit)
		used |= f.Mask() << f.Bit
		require.True(t, f.Access == RO || f.Access == r.Access, f.Name)
		if first {
			require.False(t, names[f.Name], f.Name)
			names[f.Name] = true
		}
	}
	if used != 0 {
		require.Zero(t, r.Reset&^used, "reset of %s sets bits of no field", r.Name)
	}
}

func TestTimerIsAViewInTicks(t *testing.T) {
	b := New()
	rto := bind(t, b, "TP_RXT_MIN", uint64(200*time.Millisecond))
	v, err := b.Read(A_TP_RXT_MIN)
	require.NoError(t, err)
	require.EqualValues(t, 25_000, v) // of 8 µs

	require.NoError(t, b.Write(A_TP_RXT_MIN, 125))
	require.EqualValues(t, time.Millisecond, rto.v)
	rto.v = uint64(time.Second) // the owner changes its mind: no copy may show
	v, err = b.Read(A_TP_RXT_MIN)
	require.NoError(t, err)
	require.EqualValues(t, 125_000, v)
}

func TestAssign(t *testing.T) {
	b := New()
	rto := bind(t, b, "TP_RXT_MIN", 0)
	rto.most = uint64(time.Minute)
	rwnd := bind(t, b, "TP_PARA_REG1.InitRwnd", 0)
	syn := bind(t, b, "TP_SHIFT_CNT.SynShiftMax", 6)
	keep := bind(t, b, "TP_SHIFT_CNT.KeepaliveMax", 9)
	rmax := bind(t, b, "TPX_RCVBUF_MAX", 0)

	for line, check := range map[string]func() bool{
		"TP_RXT_MIN=200ms":             func() bool { return rto.v == 200e6 },
		" TP_RXT_MIN = 1.5s ":          func() bool { return rto.v == 1.5e9 },
		"TP_RXT_MIN=205us":             func() bool { return rto.v == 200e3 }, // whole ticks
		"0x398=125":                    func() bool { return rto.v == 1e6 },
		"TP_PARA_REG1.InitRwnd=64KiB":  func() bool { return rwnd.v == 64<<10 },
		"TP_PARA_REG1.InitRwnd=65536":  func() bool { return rwnd.v == 64<<10 },
		"TPX_RCVBUF_MAX=4MiB":          func() bool { return rmax.v == 4<<20 },
		"TP_SHIFT_CNT.SynShiftMax=0xa": func() bool { return syn.v == 10 },
		"TP_SHIFT_CNT=0x05000007":      func() bool { return syn.v == 5 && keep.v == 7 },
	} {
		require.NoError(t, b.Assign(line), line)
		require.True(t, check(), line)
	}
	require.Zero(t, rejected(t, b))
}

func TestRejectedWriteChangesNothingAndIsCounted(t *testing.T) {
	b := New()
	rto := bind(t, b, "TP_RXT_MIN", uint64(time.Second))
	rto.most = uint64(time.Minute)
	rwnd := bind(t, b, "TP_PARA_REG1.InitRwnd", 256<<10)
	for i, c := range []struct {
		line string
		want error
		says string
	}{
		{"TP_RXT_MIN=2h", errTooMuch, "TP_RXT_MIN"},
		{"TP_RXT_MIN=200", ErrSyntax, "200ms"},
		{"TP_RXT_MIN=-1s", ErrSyntax, "TP_RXT_MIN"},
		{"TP_RXT_MIN=20h", ErrRange, "9h32m"},
		{"TP_RXT_MIN", ErrSyntax, "NAME=VALUE"},
		{"TP_RXT_MIX=1s", ErrUnknown, "TP_RXT_MIX"},
		{"TP_PARA_REG1.InitRwnd=1GiB", ErrRange, "InitRwnd"},
		{"TP_PARA_REG1.InitRwnd=99999999999GiB", ErrRange, "InitRwnd"},
		{"TP_PARA_REG1=64KiB", ErrSyntax, "plain number"},
		{"TP_PARA_REG1=0x1ffffffff", ErrSyntax, "plain number"},
		{"TP_TIMER_RESOLUTION=1", ErrReadOnly, "TP_TIMER_RESOLUTION"},
		{"TP_TIMER_RESOLUTION.TimerRes=1", ErrReadOnly, "TimerRes"},
		{"TP_KEEP_IDLE=1s", ErrNotBound, "TP_KEEP_IDLE"},
		{"0x398=5s", ErrSyntax, "0x398"},
		{"0x9998=5", ErrUnknown, "0x9998"},
		{"PL_ERR=0", ErrReadOnly, "PL_ERR"},
	} {
		err := b.Assign(c.line)
		require.ErrorIs(t, err, c.want, c.line)
		require.ErrorContains(t, err, c.says)
		require.EqualValues(t, i+1, rejected(t, b), c.line)
		require.EqualValues(t, time.Second, rto.v)
		require.EqualValues(t, 256<<10, rwnd.v)
	}
	cause, err := b.Read(A_PL_INT_CAUSE)
	require.NoError(t, err)
	require.EqualValues(t, F_WRITEREJECTED, cause)
	require.NoError(t, b.Write(A_PL_INT_CAUSE, F_WRITEREJECTED))
	cause, err = b.Read(A_PL_INT_CAUSE)
	require.NoError(t, err)
	require.Zero(t, cause)
}

func TestRefusedFieldUndoesTheOthers(t *testing.T) {
	b := New()
	syn := bind(t, b, "TP_SHIFT_CNT.SynShiftMax", 6)
	r2 := bind(t, b, "TP_SHIFT_CNT.RxtShiftMaxR2", 15)
	keep := bind(t, b, "TP_SHIFT_CNT.KeepaliveMax", 9)
	keep.most = 127
	err := b.Write(A_TP_SHIFT_CNT, V_SYNSHIFTMAX(1)|V_RXTSHIFTMAXR2(2)|V_KEEPALIVEMAX(200))
	require.ErrorIs(t, err, errTooMuch)
	require.Equal(t, []uint64{6, 15, 9}, []uint64{syn.v, r2.v, keep.v})
	v, err := b.Read(A_TP_SHIFT_CNT)
	require.NoError(t, err)
	require.EqualValues(t, []uint32{6, 15, 9}, []uint32{G_SYNSHIFTMAX(v), G_RXTSHIFTMAXR2(v), G_KEEPALIVEMAX(v)})
}

func TestWideReadLatches(t *testing.T) {
	b := New()
	c := bind(t, b, "TP_MIB_TCP_IN_SEG", 0x1_ffff_ffff)
	hi, err := b.Read(A_TP_MIB_TCP_IN_SEG_HI)
	require.NoError(t, err)
	c.v++ // carries into the high half between the two reads
	lo, err := b.Read(A_TP_MIB_TCP_IN_SEG_LO)
	require.NoError(t, err)
	require.EqualValues(t, 0x1_ffff_ffff, uint64(hi)<<32|uint64(lo))
	v, err := b.Get("TP_MIB_TCP_IN_SEG")
	require.NoError(t, err)
	require.EqualValues(t, 0x2_0000_0000, v)
	require.ErrorIs(t, b.Write(A_TP_MIB_TCP_IN_SEG_LO, 1), ErrReadOnly)
}

func TestIndexedWindowSteps(t *testing.T) {
	b := New()
	bind(t, b, "TP_MIB_TCP_ACTIVE_OPENS", 0x5_0000_0007)
	bind(t, b, "TP_MIB_TCP_PASSIVE_OPENS", 9)
	require.NoError(t, b.Write(A_TP_MIB_INDEX, 0))
	for _, want := range []uint32{5, 7, 0, 9} {
		v, err := b.Read(A_TP_MIB_RDATA)
		require.NoError(t, err)
		require.Equal(t, want, v)
	}
	_, err := b.Read(A_TP_MIB_RDATA)
	require.ErrorIs(t, err, ErrRange) // nobody bound the next one
}

func TestAbsentRegistersAreErrorsNotZeros(t *testing.T) {
	b := New()
	_, err := b.Read(A_TP_RXT_MIN)
	require.ErrorIs(t, err, ErrNotBound)
	_, err = b.Read(A_TP_SHIFT_CNT)
	require.ErrorIs(t, err, ErrNotBound)
	_, err = b.Get("XGM3_STAT_RX_FRAMES")
	require.ErrorIs(t, err, ErrNotBound)
	_, err = b.Read(0x9998)
	require.ErrorIs(t, err, ErrUnknown)
	require.ErrorIs(t, b.Bind("TP_SHIFT_CNT", Binding{}), ErrUnknown)
	require.ErrorIs(t, b.Bind("TP_TIME_HI", Binding{}), ErrUnknown)
	require.ErrorIs(t, b.Bind("TP_MSL", Binding{}), ErrNotBound)
}

func TestPortsAreCopies(t *testing.T) {
	b := New()
	bind(t, b, "XGM0_STAT_RX_FRAMES", 5)
	bind(t, b, "XGM2_STAT_RX_FRAMES", 7)
	v, err := b.Read(A_XGM_STAT_RX_FRAMES_LO + 2*XGM_STRIDE)
	require.NoError(t, err)
	require.Zero(t, v) // not latched yet
	_, err = b.Read(A_XGM_STAT_RX_FRAMES_HI + 2*XGM_STRIDE)
	require.NoError(t, err)
	v, err = b.Read(A_XGM_STAT_RX_FRAMES_LO + 2*XGM_STRIDE)
	require.NoError(t, err)
	require.EqualValues(t, 7, v)
}

// TestAccessClasses covers the classes with a map of its own, so that it holds whatever the real
// map has.
func TestAccessClasses(t *testing.T) {
	b := newBank([]Block{{Name: "X", Base: 0x10, Count: 1, Regs: []Reg{
		{Name: "X_CAUSE", Offset: 0, Access: W1C},
		{Name: "X_COUNT", Offset: 4, Access: RC},
		{Name: "X_SIZE", Offset: 8, Access: RWBoot},
		{Name: "X_MODES", Offset: 12, Access: RWBoot, Fields: []Field{{Name: "Mode", Bit: 4, Len: 2, Access: RWBoot}}},
	}}})
	cause := uint64(0b1011)
	require.NoError(t, b.Bind("X_CAUSE", Binding{
		Get: func() uint64 { return cause },
		Set: func(v uint64) error { cause &^= v; return nil },
	}))
	require.NoError(t, b.Write(0x10, 0b0110))
	require.EqualValues(t, 0b1001, cause)

	count := bind(t, b, "X_COUNT", 5)
	v, err := b.Get("X_COUNT") // looking by name leaves it alone
	require.NoError(t, err)
	require.EqualValues(t, 5, v)
	r, err := b.Read(0x14)
	require.NoError(t, err)
	require.EqualValues(t, 5, r)
	require.Zero(t, count.v)
	require.ErrorIs(t, b.Write(0x14, 1), ErrReadOnly)

	size, mode := bind(t, b, "X_SIZE", 1), bind(t, b, "X_MODES.Mode", 1)
	require.NoError(t, b.Set("X_SIZE", 2))
	require.NoError(t, b.Write(0x1c, 0x20))
	b.Enable()
	require.ErrorIs(t, b.Set("X_SIZE", 3), ErrEnabled)
	require.ErrorIs(t, b.Write(0x1c, 0x30), ErrEnabled)
	require.Equal(t, []uint64{2, 2}, []uint64{size.v, mode.v})
}

func TestDump(t *testing.T) {
	b := New()
	bind(t, b, "TP_RXT_MIN", uint64(200*time.Millisecond))
	bind(t, b, "TP_SHIFT_CNT.SynShiftMax", 6)
	bind(t, b, "TPX_RCVBUF_MAX", 6<<20)
	var lines []string
	for _, v := range b.Dump("TP") {
		lines = append(lines, fmt.Sprintf("%04x %s=%s", v.Addr, v.Name, v.Text))
		for _, f := range v.Fields {
			lines = append(lines, fmt.Sprintf("  %s=%s", f.Name, f.Text))
		}
	}
	require.Equal(t, []string{
		"0390 TP_TIMER_RESOLUTION=0x000d000d",
		"  TP_TIMER_RESOLUTION.TimerRes=13", "  TP_TIMER_RESOLUTION.DelayedACKResolution=13",
		"0398 TP_RXT_MIN=200ms",
		"03c0 TP_SHIFT_CNT=0x06000000", "  TP_SHIFT_CNT.SynShiftMax=6",
		"0450 TP_MIB_INDEX=0",
		"1008 TPX_RCVBUF_MAX=6MiB",
	}, lines)
	v, err := b.Describe("TP_RXT_MIN")
	require.NoError(t, err)
	require.EqualValues(t, 25_000, v.Raw)
	require.Equal(t, "RW", v.Access)
}

func TestConcurrentUse(t *testing.T) {
	b := New()
	bind(t, b, "TP_RXT_MIN", 0)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				_ = b.Assign(fmt.Sprintf("TP_RXT_MIN=%dms", i))
				_ = b.Assign("TP_RXT_MIN=soon")
				b.Dump("")
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 800, rejected(t, b))
}

func FuzzAssign(f *testing.F) {
	for _, s := range []string{"TP_RXT_MIN=200ms", "0x398=1", "=", "TP_SHIFT_CNT=0xffffffff", "TPX_RCVBUF_MAX=64KiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		b := New()
		c := &cell{most: uint64(time.Minute)}
		require.NoError(t, b.Bind("TP_RXT_MIN", c.binding()))
		if err := b.Assign(line); err != nil {
			require.EqualValues(t, 1, b.errs)
			require.Zero(t, c.v)
		} else {
			require.Zero(t, b.errs)
			require.LessOrEqual(t, c.v, c.most)
		}
	})
}
