package socket

// Raw IP packets: segments to octets and back, ICMP errors.

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/wire"
)

// defaultTTL is the hop limit of what leaves.
const defaultTTL = 64

// emit turns a segment into a packet, or cuts it into several as a device does.
func (h *Host) emit(g *tcpoffload.TxSegment) {
	for size := uint32(g.SegSize); size != 0 && g.Len > size; {
		part := *g
		part.Len = size
		part.Flags &^= wire.FIN | wire.PSH
		h.emitOne(&part)
		g.Seq, g.Pos, g.Len = g.Seq.Add(size), g.Pos+uint64(size), g.Len-size
		g.Flags &^= wire.CWR
	}
	h.emitOne(g)
}

func (h *Host) emitOne(g *tcpoffload.TxSegment) {
	s := h.conns[g.Handle]
	hd := wire.Header{
		Flags: g.Flags, TTL: defaultTTL, ECN: g.ECN, DF: g.DF, IPID: h.ipID,
		Flow: g.Flow, Seq: g.Seq, Ack: g.Ack, Wnd: g.Wnd, Urg: g.Urg, Opt: g.Opt,
	}
	h.ipID++
	if s != nil {
		hd.TOS = s.tos
		if g.Len > 0 {
			s.sent = max(s.sent, g.Pos+uint64(g.Len))
			s.stampLeft()
			s.writeSpace()
		}
	}
	n := hd.Len()
	b := make([]byte, n+int(g.Len))
	if g.Len > 0 && s != nil {
		s.tx.get(g.Pos, b[n:])
	}
	hd.Put(b, int(g.Len), wire.Sum(b[n:], 0), wire.ChecksumSoftware)
	h.sent = append(h.sent, Packet{At: h.now, Data: b[wire.EthernetLen:]})
}

// receive takes in a packet.
func (h *Host) receive(p []byte) bool {
	if len(p) == 0 {
		return false
	}
	typ := wire.TypeIPv4
	if p[0]>>4 == 6 {
		typ = wire.TypeIPv6
	}
	frame := make([]byte, wire.EthernetLen+len(p))
	wire.PutEthernet(frame, wire.MAC{}, wire.MAC{}, typ)
	copy(frame[wire.EthernetLen:], p)
	var k wire.Packet
	switch wire.Parse(frame, false, false, &k) {
	case wire.VerdictTCP:
	case wire.VerdictOther:
		return h.receiveICMP(p)
	default:
		return false
	}
	if !h.owns(k.Flow.Local) {
		return false
	}
	seg := tcpoffload.Segment{
		Flow: k.Flow, Seq: k.Seq, Ack: k.Ack, Len: uint32(k.PayloadLen), Wnd: k.Wnd, Urg: k.Urg,
		Flags: k.Flags, ECN: k.ECN, Opt: k.Opt,
	}
	if id, ok := h.Engine.Lookup(&seg.Flow); ok && h.conns[id] != nil {
		h.conns[id].noteSynData() // the segment may end the connection
	}
	payload := frame[k.PayloadOff : k.PayloadOff+k.PayloadLen]
	h.Engine.Arrive(h.now, &seg, h.out)
	h.drain(payload)
	return true
}

// owns reports whether a is an address of this host.
func (h *Host) owns(a wire.Addr) bool {
	for _, own := range h.cfg.Addrs {
		if own == a {
			return true
		}
	}
	return false
}

// receiveICMP passes an ICMP error that quotes a segment of ours to the engine.
func (h *Host) receiveICMP(p []byte) bool {
	var c tcpoffload.Call
	var quote []byte
	if ip, ok := wire.AsIPv4(p); ok && ip.Protocol() == wire.ProtoICMP {
		m, ok := wire.AsICMP(ip.Payload())
		if !ok || !m.ChecksumOK(0) || !h.owns(ip.Dst()) {
			return false
		}
		c.ICMP, c.Value = classify4(m)
		quote = m.Body()
	} else if ip, ok := wire.AsIPv6(p); ok && ip.NextHeader() == wire.ProtoICMPv6 {
		src, dst := ip.Src(), ip.Dst()
		m, ok := wire.AsICMP(ip.Payload())
		if !ok || !m.ChecksumOK(wire.PseudoSum(&src, &dst, wire.ProtoICMPv6, uint32(len(m)))) || !h.owns(dst) {
			return false
		}
		c.ICMP, c.Value = classify6(m)
		quote = m.Body()
	}
	if c.ICMP == 0 || !quoted(quote, &c) {
		return false
	}
	if id, ok := h.Engine.Lookup(&c.Flow); ok && c.ICMP == tcpoffload.ICMPHard {
		if s := h.conns[id]; s != nil {
			s.icmpErr = icmpErrno(p)
		}
	}
	c.Kind = tcpoffload.CallICMP
	h.call(&c)
	return true
}

// icmpErrno returns what a hard error, the packet p, is to a program.
func icmpErrno(p []byte) unix.Errno {
	if ip, ok := wire.AsIPv4(p); ok {
		switch wire.ICMP(ip.Payload()).Code() {
		case 2:
			return unix.ENOPROTOOPT
		case 3:
			return unix.ECONNREFUSED
		}
	} else if ip, ok := wire.AsIPv6(p); ok {
		switch wire.ICMP(ip.Payload()).Code() {
		case 1:
			return unix.EACCES
		case 4:
			return unix.ECONNREFUSED
		}
	}
	return unix.EHOSTUNREACH
}

// classify4 returns the class of an ICMP error and the MTU that it tells; class 0: no error of a kind
// that TCP hears of.
func classify4(m wire.ICMP) (kind tcpoffload.ICMPKind, mtu int64) {
	switch m.Type() {
	case wire.ICMPUnreachable:
		switch m.Code() {
		case wire.ICMPCodeFragNeeded:
			return tcpoffload.ICMPTooBig, int64(binary.BigEndian.Uint16(m[6:8]))
		case 2, 3, 9, 10, 13: // protocol, port, prohibited
			return tcpoffload.ICMPHard, 0
		}
		return tcpoffload.ICMPSoft, 0
	case wire.ICMPTimeExceeded, wire.ICMPParamProblem:
		return tcpoffload.ICMPSoft, 0
	}
	return 0, 0
}

// classify6 is classify4 for ICMPv6.
func classify6(m wire.ICMP) (kind tcpoffload.ICMPKind, mtu int64) {
	switch m.Type() {
	case wire.ICMPv6Unreachable:
		if m.Code() == 1 || m.Code() == 4 { // prohibited, port
			return tcpoffload.ICMPHard, 0
		}
		return tcpoffload.ICMPSoft, 0
	case wire.ICMPv6PacketTooBig:
		return tcpoffload.ICMPTooBig, int64(binary.BigEndian.Uint32(m[4:8]))
	case wire.ICMPv6TimeExceeded:
		return tcpoffload.ICMPSoft, 0
	}
	return 0, 0
}

// quoted takes flow and sequence number from the packet that an ICMP error quotes, which may be cut
// off after the first eight octets of the TCP header.
func quoted(b []byte, c *tcpoffload.Call) bool {
	var tcp []byte
	switch {
	case len(b) >= wire.IPv4Len+8 && b[0]>>4 == 4 && b[9] == wire.ProtoTCP:
		n := int(b[0]&0xf) * 4
		if n < wire.IPv4Len || len(b) < n+8 {
			return false
		}
		c.Flow.Local = wire.AddrFrom4([4]byte(b[12:16]))
		c.Flow.Remote = wire.AddrFrom4([4]byte(b[16:20]))
		tcp = b[n:]
	case len(b) >= wire.IPv6Len+8 && b[0]>>4 == 6 && b[6] == wire.ProtoTCP:
		c.Flow.Local, c.Flow.Remote = wire.Addr(b[8:24]), wire.Addr(b[24:40])
		tcp = b[wire.IPv6Len:]
	default:
		return false
	}
	c.Flow.LocalPort = binary.BigEndian.Uint16(tcp[0:2])
	c.Flow.RemotePort = binary.BigEndian.Uint16(tcp[2:4])
	c.Seq = seq.Num(binary.BigEndian.Uint32(tcp[4:8]))
	return true
}
