package netfilter

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The expressions of nf_tables that our rules are made of. Registers have 4 octets each; a longer value
// takes several. An expression that finds nothing to load, or that does not compare, ends its rule.

// Registers.
const (
	verdictRegister = unix.NFT_REG_VERDICT
	reg0            = unix.NFT_REG32_00
)

// expression is one step of a rule.
type expression struct {
	name string
	data attributes
}

// meta loads what the kernel knows of the packet.
func meta(key uint32) expression {
	return expression{"meta", attributes(nil).u32(unix.NFTA_META_DREG, reg0).u32(unix.NFTA_META_KEY, key)}
}

// ctStatus loads the status bits of the packet's connection. A packet that is not tracked has none.
func ctStatus() expression {
	return expression{"ct", attributes(nil).u32(unix.NFTA_CT_DREG, reg0).u32(unix.NFTA_CT_KEY, unix.NFT_CT_STATUS)}
}

// payload loads n octets at an offset of the network or the transport header into register number reg.
func payload(base uint32, offset, n, reg int) expression {
	return expression{"payload", attributes(nil).u32(unix.NFTA_PAYLOAD_DREG, reg0+uint32(reg)).
		u32(unix.NFTA_PAYLOAD_BASE, base).u32(unix.NFTA_PAYLOAD_OFFSET, uint32(offset)).
		u32(unix.NFTA_PAYLOAD_LEN, uint32(n))}
}

// mask keeps the bits of m in the first register.
func mask(m []byte) expression {
	return expression{"bitwise", attributes(nil).u32(unix.NFTA_BITWISE_SREG, reg0).u32(unix.NFTA_BITWISE_DREG, reg0).
		u32(unix.NFTA_BITWISE_LEN, uint32(len(m))).
		nest(unix.NFTA_BITWISE_MASK, value(m)).nest(unix.NFTA_BITWISE_XOR, value(make([]byte, len(m))))}
}

// is and isNot compare the first registers.
func is(v []byte) expression    { return compare(unix.NFT_CMP_EQ, v) }
func isNot(v []byte) expression { return compare(unix.NFT_CMP_NEQ, v) }

func compare(op uint32, v []byte) expression {
	return expression{"cmp", attributes(nil).u32(unix.NFTA_CMP_SREG, reg0).u32(unix.NFTA_CMP_OP, op).
		nest(unix.NFTA_CMP_DATA, value(v))}
}

// in looks the first registers up in a set.
func in(set string) expression {
	return expression{"lookup", attributes(nil).text(unix.NFTA_LOOKUP_SET, set).u32(unix.NFTA_LOOKUP_SREG, reg0)}
}

// report hands the packet to the socket of group g at once.
func report(g uint16) expression {
	return expression{"log", attributes(nil).u16(unix.NFTA_LOG_GROUP, g).u16(unix.NFTA_LOG_QTHRESHOLD, 1)}
}

// verdict ends the chain.
func verdict(code uint32) expression {
	v := attributes(nil).u32(unix.NFTA_VERDICT_CODE, code)
	return expression{"immediate", attributes(nil).u32(unix.NFTA_IMMEDIATE_DREG, verdictRegister).
		nest(unix.NFTA_IMMEDIATE_DATA, attributes(nil).nest(unix.NFTA_DATA_VERDICT, v))}
}

func value(v []byte) attributes { return attributes(nil).add(unix.NFTA_DATA_VALUE, v) }

// octet and number are values as they stand in a register: of headers in network order, of the kernel's own in host order.
func octet(v uint8) []byte   { return []byte{v} }
func number(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// encode returns the attribute list of a rule.
func encode(rule []expression) attributes {
	var list attributes
	for _, e := range rule {
		list = list.nest(unix.NFTA_LIST_ELEM, attributes(nil).text(unix.NFTA_EXPR_NAME, e.name).nest(unix.NFTA_EXPR_DATA, e.data))
	}
	return list
}
