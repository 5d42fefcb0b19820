package hwregs

import (
	"errors"
	"fmt"
	"math"
	"sync"
)

// Errors of the bank; what it returns wraps one of them, and names the register.
var (
	ErrUnknown  = errors.New("no such register")
	ErrNotBound = errors.New("register is not present on this device")
	ErrReadOnly = errors.New("register is read-only")
	ErrEnabled  = errors.New("register can be written only before the ports are enabled")
	ErrRange    = errors.New("value out of range")
	ErrSyntax   = errors.New("cannot be understood")
)

// Binding connects a register or field with the state that it shows. Values are in natural units,
// see [Unit]. The functions are called from whatever goroutine uses the bank, one at a time; they
// must not use the bank themselves.
type Binding struct {
	Get func() uint64
	// Set changes the state or returns why it cannot be; then it has changed nothing. For W1C it
	// gets the bits to clear, for RC it is called with 0 after a read. Nil: nothing can be set.
	Set func(uint64) error
	// At returns entry i of an IDX register; ok false: there is none.
	At func(i uint32) (v uint64, ok bool)
}

// Bank is a device's set of registers. It is safe for concurrent use.
type Bank struct {
	mu       sync.Mutex
	names    map[string]*entry // registers, wide registers' halves, and REG.Field
	addrs    map[uint32]*entry
	order    []*entry // registers by address; a wide one once
	enabled  bool
	errs     uint64 // PL_ERR
	rejected bool   // PL_INT_CAUSE.WriteRejected
}

// entry is a register of the bank, half of a wide one, or a field.
type entry struct {
	name   string
	reg    *Reg
	addr   uint32
	field  *Field   // nil: the whole register
	fields []*entry // of a register
	half   half
	wide   *entry // of a half: the whole
	latch  uint32 // of a wide register: what _LO shows
	bind   Binding
	bound  bool
}

type half uint8

const (
	whole half = iota
	high
	low
)

// New returns a bank in which only what the bank itself knows is bound: PL_ERR,
// TP_TIMER_RESOLUTION and the MIB window.
func New() *Bank {
	b := newBank(Blocks())
	b.bindOwn()
	return b
}

func newBank(blocks []Block) *Bank {
	b := &Bank{names: make(map[string]*entry), addrs: make(map[uint32]*entry)}
	for i := range blocks {
		for n := range blocks[i].Count {
			b.addBlock(&blocks[i], n)
		}
	}
	return b
}

func (b *Bank) addBlock(blk *Block, n int) {
	for i := range blk.Regs {
		r := &blk.Regs[i]
		e := &entry{name: blk.instanceName(r, n), reg: r, addr: blk.Base + uint32(n)*blk.Stride + r.Offset}
		b.names[e.name] = e
		b.order = append(b.order, e)
		if r.Wide {
			hi := &entry{name: e.name + "_HI", reg: r, addr: e.addr, half: high, wide: e}
			lo := &entry{name: e.name + "_LO", reg: r, addr: e.addr + 4, half: low, wide: e}
			b.names[hi.name], b.names[lo.name] = hi, lo
			b.addrs[hi.addr], b.addrs[lo.addr] = hi, lo
			continue
		}
		b.addrs[e.addr] = e
		for j := range r.Fields {
			f := &entry{name: e.name + "." + r.Fields[j].Name, reg: r, addr: e.addr, field: &r.Fields[j]}
			e.fields = append(e.fields, f)
			b.names[f.name] = f
		}
	}
}

// instanceName returns the name of r in copy n of the block.
func (blk *Block) instanceName(r *Reg, n int) string {
	if blk.Count == 1 {
		return r.Name
	}
	return fmt.Sprintf("%s%d%s", blk.Name, n, r.Name[len(blk.Name):])
}

func (b *Bank) bindOwn() {
	var index uint64
	mib := b.mibOrder()
	own := map[string]Binding{
		"PL_INT_CAUSE.WriteRejected": {
			Get: func() uint64 {
				if b.rejected {
					return 1
				}
				return 0
			},
			Set: func(uint64) error { b.rejected = false; return nil },
		},
		"PL_ERR":                       {Get: func() uint64 { return b.errs }},
		"TP_TIMER_RESOLUTION.TimerRes": {Get: func() uint64 { return TimerResolution }},
		"TP_TIMER_RESOLUTION.DelayedACKResolution": {Get: func() uint64 { return TimerResolution }},
		"TP_MIB_INDEX": {
			Get: func() uint64 { return index },
			Set: func(v uint64) error { index = v; return nil },
		},
		"TP_MIB_RDATA": {At: func(i uint32) (uint64, bool) {
			c := int(i / 2)
			if c >= len(mib) || !mib[c].bound {
				return 0, false
			}
			if i%2 == 0 {
				return mib[c].bind.Get() >> 32, true
			}
			return mib[c].bind.Get() & math.MaxUint32, true
		}},
	}
	for name, bind := range own {
		if err := b.Bind(name, bind); err != nil {
			panic(err) // the map and this function disagree
		}
	}
}

func (b *Bank) mibOrder() (list []*entry) {
	blk := blockMIB()
	for i := range blk.Regs {
		list = append(list, b.names[blk.Regs[i].Name])
	}
	return list
}

// Bind makes the register or field name show what bind gets, and change what it sets. Fields are
// named REG.Field; a wide register is bound as a whole, without _HI and _LO. Binding again
// replaces.
func (b *Bank) Bind(name string, bind Binding) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.names[name]
	switch {
	case e == nil || e.wide != nil:
		return fmt.Errorf("bind %s: %w", name, ErrUnknown)
	case len(e.fields) > 0:
		return fmt.Errorf("bind %s: bind its fields, such as %s: %w", name, e.fields[0].name, ErrUnknown)
	case e.reg.Access == IDX && bind.At == nil, e.reg.Access != IDX && bind.Get == nil:
		return fmt.Errorf("bind %s: a getter is missing: %w", name, ErrNotBound)
	}
	e.bind, e.bound = bind, true
	return nil
}

// Enable says that the ports are running: from now on RW-boot registers are read-only.
func (b *Bank) Enable() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.enabled = true
}

// Read returns the 32-bit register at addr, with the side effects that reading it has.
func (b *Bank) Read(addr uint32) (uint32, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.addrs[addr]
	if e == nil {
		return 0, fmt.Errorf("read 0x%04x: %w", addr, ErrUnknown)
	}
	v, err := b.readRaw(e)
	return uint32(v), err
}

// Get returns the value of a register or field by name, in natural units; of a wide register all
// 64 bits, of one with fields the raw 32 bits. Nothing is latched or cleared.
func (b *Bank) Get(name string) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.names[name]
	if e == nil {
		return 0, fmt.Errorf("read %s: %w", name, ErrUnknown)
	}
	return b.natural(e)
}

// Write writes the 32-bit register at addr. An error means that nothing has changed.
func (b *Bank) Write(addr uint32, v uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.addrs[addr]
	if e == nil {
		return b.reject(fmt.Sprintf("0x%04x", addr), ErrUnknown)
	}
	return b.writeRaw(e, v)
}

// Set changes a register or field by name; v is in natural units. An error means that nothing has
// changed.
func (b *Bank) Set(name string, v uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.names[name]
	if e == nil {
		return b.reject(name, ErrUnknown)
	}
	if len(e.fields) > 0 {
		if v > math.MaxUint32 {
			return b.reject(name, ErrRange)
		}
		return b.writeRaw(e, uint32(v))
	}
	return b.write(e, v)
}

// reject counts a write that was not done and returns why.
func (b *Bank) reject(name string, why error) error {
	b.errs++
	b.rejected = true
	return fmt.Errorf("write %s: %w", name, why)
}

// natural returns e's value in natural units.
func (b *Bank) natural(e *entry) (uint64, error) {
	switch {
	case e.half != whole:
		v, err := b.natural(e.wide)
		if e.half == high {
			return v >> 32, err
		}
		return v & math.MaxUint32, err
	case len(e.fields) > 0:
		return b.composed(e)
	case !e.bound:
		return 0, fmt.Errorf("read %s: %w", e.name, ErrNotBound)
	case e.reg.Access == IDX:
		i, err := b.natural(b.names[e.reg.Index])
		if err != nil {
			return 0, err
		}
		v, ok := e.bind.At(uint32(i))
		if !ok {
			return 0, fmt.Errorf("read %s: there is no entry %d: %w", e.name, i, ErrRange)
		}
		return v, nil
	}
	return e.bind.Get(), nil
}

// composed puts the fields of e together. Fields that nobody bound read as zero if others are.
func (b *Bank) composed(e *entry) (raw uint64, err error) {
	bound := false
	for _, f := range e.fields {
		if !f.bound {
			continue
		}
		bound = true
		raw |= uint64(f.raw(f.bind.Get())) << f.field.Bit
	}
	if !bound {
		return 0, fmt.Errorf("read %s: %w", e.name, ErrNotBound)
	}
	return raw, nil
}

// raw converts a natural value to what the register or field shows: the nearest unit, and the
// greatest if it does not fit.
func (e *entry) raw(v uint64) uint32 {
	s := e.unit().scale()
	v = v/s + (v%s+s/2)/s
	return uint32(min(v, uint64(e.max())))
}

// max returns the greatest raw value.
func (e *entry) max() uint32 {
	if e.field != nil {
		return e.field.Mask()
	}
	return math.MaxUint32
}

func (e *entry) unit() Unit {
	if e.half != whole {
		return Number
	}
	if e.field != nil {
		return e.field.Unit
	}
	return e.reg.Unit
}

func (e *entry) access() Access {
	if e.field != nil && e.field.Access == RO {
		return RO
	}
	return e.reg.Access
}

// readRaw returns what a 32-bit read of e gives and does what it does besides.
func (b *Bank) readRaw(e *entry) (uint32, error) {
	switch e.half {
	case high:
		v, err := b.natural(e.wide)
		e.wide.latch = uint32(v)
		return uint32(v >> 32), err
	case low:
		return e.wide.latch, nil
	}
	v, err := b.natural(e)
	if err != nil {
		return 0, err
	}
	if e.reg.Access == RC && e.bind.Set != nil {
		if err := e.bind.Set(0); err != nil {
			return 0, fmt.Errorf("clear %s: %w", e.name, err)
		}
	}
	if e.reg.Access == IDX {
		b.step(e)
	}
	if len(e.fields) > 0 {
		return uint32(v), nil
	}
	return e.raw(v), nil
}

// step moves the index of e on, so that reading again shows the next entry.
func (b *Bank) step(e *entry) {
	index := b.names[e.reg.Index].bind
	_ = index.Set(index.Get() + 1) // past the end, the next read says so
}

// writeRaw does a 32-bit write of e. Of a register with fields, those that change are set, and set
// back if a later one is refused.
func (b *Bank) writeRaw(e *entry, v uint32) error {
	if e.half != whole {
		return b.reject(e.name, ErrReadOnly)
	}
	if len(e.fields) == 0 {
		return b.write(e, uint64(v)*e.unit().scale())
	}
	old, err := b.composed(e)
	if err != nil {
		return b.reject(e.name, ErrNotBound)
	}
	switch {
	case e.reg.Access == RO:
		return b.reject(e.name, ErrReadOnly)
	case e.reg.Access == RWBoot && b.enabled:
		return b.reject(e.name, ErrEnabled)
	}
	var undo []func()
	for _, f := range e.fields {
		was, is := uint32(old)>>f.field.Bit&f.field.Mask(), v>>f.field.Bit&f.field.Mask()
		changes := was != is
		if e.reg.Access == W1C {
			changes = is != 0
		}
		if !changes || f.access() == RO {
			continue
		}
		var before uint64
		if f.bound {
			before = f.bind.Get()
		}
		if err := b.write(f, uint64(is)*f.unit().scale()); err != nil {
			for _, u := range undo {
				u()
			}
			return err
		}
		undo = append(undo, func() { _ = f.bind.Set(before) }) // it was valid a moment ago
	}
	return nil
}

// write sets a register without fields, or a field, to a natural value, of which it keeps what the
// register can show.
func (b *Bank) write(e *entry, v uint64) error {
	switch acc := e.access(); {
	case e.half != whole || acc == RO || acc == RC || acc == IDX:
		return b.reject(e.name, ErrReadOnly)
	case acc == RWBoot && b.enabled:
		return b.reject(e.name, ErrEnabled)
	case !e.bound || e.bind.Set == nil:
		return b.reject(e.name, ErrNotBound)
	}
	s := e.unit().scale()
	if v/s > uint64(e.max()) {
		return b.reject(e.name, fmt.Errorf("%s: at most %s: %w", e.text(v), e.text(uint64(e.max())*s), ErrRange))
	}
	if err := e.bind.Set(v / s * s); err != nil {
		return b.reject(e.name, err)
	}
	return nil
}
