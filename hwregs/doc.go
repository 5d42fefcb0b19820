// Package hwregs is the device's register map, in the conventions of Chelsio's chips, and a bank of
// registers over it.
//
// [Blocks] is the map: one declarative table of blocks, registers and fields, from which the
// constants in regs_gen.go and docs/REGISTERS.md are generated (go generate). Registers are 32 bits
// wide at addresses that are multiples of four. Names and addresses are those of Chelsio's T3 where
// the meaning is the same; blocks TPX, SHM and the counter windows are our own.
//
// A register is a view of live state, never a second copy: a [Bank] holds getters and setters that
// their owners bind, and converts. Bound values are in natural units (nanoseconds, octets); timers
// appear in the 32-bit register as ticks, as TP_TIMER_RESOLUTION says. What nobody has bound is
// not there: reading it is an error, not a zero.
//
// A rejected write changes nothing, says why, and is counted in PL_ERR.
//
// Not here: who owns the state, and the data path, which never looks at a register.
package hwregs

//go:generate go run ./gen
