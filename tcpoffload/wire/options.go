package wire

import "opentoe/tcpoffload/seq"

// MaxSACKBlocks is how many blocks fit in the option space without other options (RFC 2018 §3).
const MaxSACKBlocks = 4

// SACKBlock is the received range [Left, Right) (RFC 2018 §3).
type SACKBlock struct{ Left, Right seq.Num }

// OptionSet says which fields of [Options] are valid.
type OptionSet uint8

// The options that the engine knows.
const (
	OptMSS           OptionSet = 1 << iota // MSS (RFC 9293 §3.7.1)
	OptWindowScale                         // WScale (RFC 7323 §2)
	OptSACKPermitted                       // no field (RFC 2018 §2)
	OptTimestamps                          // TSVal, TSEcr (RFC 7323 §3)
	OptSACK                                // SACK[:NumSACK] (RFC 2018 §3)
)

// Options is the parsed form of a TCP option list, in host order. A field is valid only if its
// bit is in Set.
type Options struct {
	Set          OptionSet
	WScale       uint8  // shift as sent, 0-255; the engine clamps to 14 (RFC 7323 §2.3)
	NumSACK      uint8  // 0-MaxSACKBlocks
	MSS          uint16 // octets
	TSVal, TSEcr uint32 // ticks of the sender's and our timestamp clock
	SACK         [MaxSACKBlocks]SACKBlock
}
