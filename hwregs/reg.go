package hwregs

import "time"

// Access says what reading and writing a register does.
type Access uint8

// The access classes.
const (
	RO     Access = iota // writes are rejected
	RW                   // read and write
	RWBoot               // written only before the ports are enabled
	W1C                  // writing a one clears the bit
	RC                   // reading clears
	IDX                  // the entry that the index register names; read-only
)

// String returns the class's name as in the documentation.
func (a Access) String() string {
	return [...]string{"RO", "RW", "RW-boot", "W1C", "RC", "IDX"}[a]
}

// Unit is what a register or field counts. Bindings use the natural unit given here.
type Unit uint8

// The units.
const (
	Number Unit = iota
	Ticks       // in the register ticks of [Tick], in bindings nanoseconds
	Nanos       // nanoseconds in both
	Bytes       // octets
	KiB         // in the register KiB, in bindings octets
	Mbps        // megabits per second
)

// String returns the unit as in the documentation.
func (u Unit) String() string {
	return [...]string{"", "ticks", "ns", "bytes", "KiB", "Mb/s"}[u]
}

// scale is how many natural units one unit of the register is.
func (u Unit) scale() uint64 {
	switch u {
	case Ticks:
		return uint64(Tick)
	case KiB:
		return 1024
	}
	return 1
}

// The timers' clock. Chelsio's TP counts core clocks; ours is a virtual one of 1.024 GHz, chosen so
// that a tick of 2^TimerResolution clocks is a round time and 32 bits of ticks are 9.5 hours.
const (
	CoreClockHz     = 1_024_000_000
	TimerResolution = 13
	Tick            = time.Second * (1 << TimerResolution) / CoreClockHz // 8 µs
)

// Block is a group of registers. If Count is above one there are that many copies, Stride octets
// apart, and a register's name begins with the block's name and the copy's number: XGM0_MTU.
type Block struct {
	Name   string
	Base   uint32 // address of the first copy
	Count  int    // copies, at least 1
	Stride uint32 // octets; valid only if Count > 1
	Doc    string
	Regs   []Reg
}

// Reg describes one register, or a pair of them.
type Reg struct {
	Name   string // with the block's prefix: TP_RXT_MIN
	Offset uint32 // octets from the block's base
	Access Access
	Reset  uint32 // value after a start with default settings; of fields: all of them together
	Unit   Unit   // if there are no fields
	Doc    string
	// Wide makes two registers of a 64-bit value: Name_HI at Offset and Name_LO behind it. Reading
	// _HI latches what _LO shows next.
	Wide   bool
	Index  string  // access IDX: the register that selects the entry
	Fields []Field // from the highest bit down; empty: one value of 32 bits
}

// Field is a part of a register.
type Field struct {
	Name   string // unique in the map
	Bit    uint   // lowest
	Len    uint   // bits
	Access Access // RO or that of the register
	Unit   Unit
	Doc    string
}

// Mask returns the field's mask before shifting.
func (f *Field) Mask() uint32 { return uint32(1)<<f.Len - 1 }
