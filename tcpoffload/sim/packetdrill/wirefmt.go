package packetdrill

// Packets of scripts to octets, and octets to what scripts say.

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/wire"
)

// appendOptions appends the options as they stand on the wire, without padding.
func appendOptions(b []byte, list []tcpOption) []byte {
	for _, o := range list {
		switch o.kind {
		case optEOL, optNOP:
			b = append(b, o.kind)
		case optMSS:
			b = binary.BigEndian.AppendUint16(append(b, optMSS, 4), uint16(o.val))
		case optWScale:
			b = append(b, optWScale, 3, uint8(o.val))
		case optSACKPermitted:
			b = append(b, optSACKPermitted, 2)
		case optSACK:
			b = append(b, optSACK, uint8(2+8*len(o.blocks)))
			for _, k := range o.blocks {
				b = binary.BigEndian.AppendUint32(b, k[0])
				b = binary.BigEndian.AppendUint32(b, k[1])
			}
		case optTimestamps:
			b = binary.BigEndian.AppendUint32(append(b, optTimestamps, 10), o.val)
			b = binary.BigEndian.AppendUint32(b, o.ecr)
		case optFastOpen:
			if o.exp {
				b = append(b, optExperimental, uint8(4+len(o.cookie)), fastOpenMagic>>8, fastOpenMagic&0xff)
			} else {
				b = append(b, optFastOpen, uint8(2+len(o.cookie)))
			}
			b = append(b, o.cookie...)
		}
	}
	return b
}

// decodeOptions reads the option list b of a packet that left.
func decodeOptions(b []byte) ([]tcpOption, error) {
	var list []tcpOption
	for len(b) > 0 {
		o := tcpOption{kind: b[0]}
		if o.kind == optEOL || o.kind == optNOP {
			list = append(list, o)
			b = b[1:]
			continue
		}
		if len(b) < 2 || int(b[1]) < 2 || int(b[1]) > len(b) {
			return nil, fmt.Errorf("an option list that is not well formed: % x", b)
		}
		v := b[2:b[1]]
		b = b[b[1]:]
		bad := false
		switch o.kind {
		case optMSS:
			if bad = len(v) != 2; !bad {
				o.val = uint32(binary.BigEndian.Uint16(v))
			}
		case optWScale:
			if bad = len(v) != 1; !bad {
				o.val = uint32(v[0])
			}
		case optSACKPermitted:
			bad = len(v) != 0
		case optSACK:
			bad = len(v)%8 != 0
			for ; len(v) >= 8; v = v[8:] {
				o.blocks = append(o.blocks, [2]uint32{binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])})
			}
		case optTimestamps:
			if bad = len(v) != 8; !bad {
				o.val, o.ecr = binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])
			}
		case optFastOpen:
			o.cookie = v
		case optExperimental:
			if len(v) >= 2 && binary.BigEndian.Uint16(v) == fastOpenMagic {
				o.kind, o.exp, o.cookie = optFastOpen, true, v[2:]
			} else {
				bad = true
			}
		default:
			bad = true
		}
		if bad {
			return nil, fmt.Errorf("option kind %d with value % x", o.kind, v)
		}
		list = append(list, o)
	}
	return list, nil
}

func optionsText(list []tcpOption) string {
	var words []string
	for _, o := range list {
		switch o.kind {
		case optEOL:
			words = append(words, "eol")
		case optNOP:
			words = append(words, "nop")
		case optMSS:
			words = append(words, fmt.Sprintf("mss %d", o.val))
		case optWScale:
			words = append(words, fmt.Sprintf("wscale %d", o.val))
		case optSACKPermitted:
			words = append(words, "sackOK")
		case optSACK:
			s := "sack"
			for _, b := range o.blocks {
				s += fmt.Sprintf(" %d:%d", b[0], b[1])
			}
			words = append(words, s)
		case optTimestamps:
			words = append(words, fmt.Sprintf("TS val %d ecr %d", o.val, o.ecr))
		case optFastOpen:
			s := "FO"
			if o.exp {
				s = "FOEXP"
			}
			if len(o.cookie) > 0 {
				s += " " + hex.EncodeToString(o.cookie)
			}
			words = append(words, s)
		}
	}
	return strings.Join(words, ",")
}

// String writes k as a script would.
func (k *packet) String() string {
	if k.icmp != nil {
		return k.text
	}
	var b strings.Builder
	b.WriteString(map[bool]string{true: "> ", false: "< "}[k.outbound])
	switch k.ecn {
	case ecnExact:
		fmt.Fprintf(&b, "[%s] ", [...]string{"noecn", "ect1", "ect0", "ce"}[k.tos&3])
	case ecnAnyECT:
		b.WriteString("[ect01] ")
	case ecnTOS:
		fmt.Fprintf(&b, "(tos 0x%02x) ", k.tos)
	}
	if k.src != 0 {
		fmt.Fprintf(&b, "%d > %d ", k.src, k.dst)
	}
	flags := ""
	for _, f := range [...]struct {
		f wire.Flags
		c string
	}{
		{wire.FIN, "F"}, {wire.SYN, "S"}, {wire.RST, "R"}, {wire.PSH, "P"}, {wire.URG, "U"},
		{wire.ECE, "E"}, {wire.CWR, "W"}, {wire.ACK, "."},
	} {
		if k.flags.Has(f.f) {
			flags += f.c
		}
	}
	if flags == "" {
		flags = "-"
	}
	fmt.Fprintf(&b, "%s %d:%d(%d)", flags, k.seq, k.seq+uint32(k.len), k.len)
	if k.flags.Has(wire.ACK) {
		fmt.Fprintf(&b, " ack %d", k.ack)
	}
	if k.win >= 0 {
		fmt.Fprintf(&b, " win %d", k.win)
	}
	if k.urg != 0 {
		fmt.Fprintf(&b, " urg %d", k.urg)
	}
	switch {
	case k.anyOpts:
		b.WriteString(" <...>")
	case len(k.options) > 0:
		fmt.Fprintf(&b, " <%s>", optionsText(k.options))
	}
	return b.String()
}

// encode builds the IP packet of a segment whose numbers are the live ones. Payload octets are zero.
func (k *packet) encode(flow *wire.Flow, defaultWin int) []byte {
	opt := appendOptions(nil, k.options)
	for len(opt)%4 != 0 {
		opt = append(opt, optEOL)
	}
	n := wire.TCPLen + len(opt)
	ip := wire.IPHeader{Src: flow.Remote, Dst: flow.Local, Proto: wire.ProtoTCP, TTL: 64, Payload: n + k.len, DF: true}
	if k.ecn == ecnExact || k.ecn == ecnTOS {
		ip.TOS = k.tos
	}
	b := make([]byte, ip.Len()+n+k.len)
	t := wire.TCP(b[ip.Put(b):])
	t.SetSrcPort(flow.RemotePort)
	t.SetDstPort(flow.LocalPort)
	t.SetSeq(seq.Num(k.seq))
	t.SetAck(seq.Num(k.ack))
	t.SetHeaderLen(n)
	t.SetFlags(k.flags)
	win := k.win
	if win < 0 {
		win = defaultWin
	}
	t.SetWindow(uint16(win))
	t.SetUrgent(k.urg)
	copy(t[wire.TCPLen:], opt)
	t.SetChecksum(wire.Checksum(t, wire.PseudoSum(&ip.Src, &ip.Dst, wire.ProtoTCP, uint32(len(t)))))
	return b
}

// encode builds an ICMP error about a segment of flow that began at the live number sq.
func (i *icmpError) encode(flow *wire.Flow, sq uint32) []byte {
	ty := icmpTypes[i.what]
	quoted := wire.IPHeader{
		Src: flow.Local, Dst: flow.Remote, Proto: wire.ProtoTCP, TTL: 64, Payload: wire.TCPLen + i.len, DF: true,
	}
	q := make([]byte, quoted.Len()+8)
	n := quoted.Put(q)
	binary.BigEndian.PutUint16(q[n:], flow.LocalPort)
	binary.BigEndian.PutUint16(q[n+2:], flow.RemotePort)
	binary.BigEndian.PutUint32(q[n+4:], sq)

	ip := wire.IPHeader{
		Src: flow.Remote, Dst: flow.Local, Proto: wire.ProtoICMP, TTL: 64, Payload: wire.ICMPLen + len(q),
	}
	if !flow.Is4() {
		ip.Proto = wire.ProtoICMPv6
	}
	b := make([]byte, ip.Len()+wire.ICMPLen+len(q))
	m := wire.ICMP(b[ip.Put(b):])
	copy(m.Body(), q)
	if flow.Is4() {
		m.SetType(ty.type4, ty.code4)
		binary.BigEndian.PutUint16(m[6:8], uint16(i.mtu))
		m.UpdateChecksum(0)
		return b
	}
	m.SetType(ty.type6, ty.code6)
	if i.mtu > 0 {
		binary.BigEndian.PutUint32(m[4:8], uint32(i.mtu+mtuGap))
	}
	m.UpdateChecksum(wire.PseudoSum(&ip.Src, &ip.Dst, wire.ProtoICMPv6, uint32(len(m))))
	return b
}

// decode reads a packet that left: numbers are the live ones, everything is said.
func decode(b []byte) (k *packet, flow wire.Flow, err error) {
	k = &packet{outbound: true, ecn: ecnTOS}
	var proto uint8
	var payload []byte
	if ip, ok := wire.AsIPv4(b); ok {
		flow.Local, flow.Remote = ip.Src(), ip.Dst()
		proto, payload, k.tos = ip.Protocol(), ip.Payload(), ip.TOS()
		if !ip.ChecksumOK() {
			return nil, flow, fmt.Errorf("a packet left with a wrong IP checksum")
		}
	} else if ip, ok := wire.AsIPv6(b); ok {
		flow.Local, flow.Remote = ip.Src(), ip.Dst()
		proto, payload, k.tos = ip.NextHeader(), ip.Payload(), ip.TrafficClass()
	}
	t, ok := wire.AsTCP(payload)
	if proto != wire.ProtoTCP || !ok {
		return nil, flow, fmt.Errorf("what left is not a TCP segment: % x", b)
	}
	if !t.ChecksumOK(&flow.Local, &flow.Remote) {
		return nil, flow, fmt.Errorf("a segment left with a wrong checksum")
	}
	flow.LocalPort, flow.RemotePort = t.SrcPort(), t.DstPort()
	k.flags, k.seq, k.ack, k.win, k.urg = t.Flags(), uint32(t.Seq()), uint32(t.Ack()), int(t.Window()), t.Urgent()
	k.len = len(t.Payload())
	k.options, err = decodeOptions(t.Options())
	return k, flow, err
}
