package netfilter

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/wire"
)

// Names in our table.
const (
	chainArriving = "arriving"
	chainLeaving  = "leaving"
	set4, set6    = "listeners4", "listeners6"
)

// lastPriority comes after every chain for filtering, mangling and address translation. Connection tracking takes
// note of a packet after that (INT_MAX), so that it knows nothing of what we take.
const lastPriority = math.MaxInt32 - 1

// ownerFlag ties a table to the socket that makes it (NFT_TABLE_F_OWNER, Linux 5.12).
const ownerFlag = 2

// Verdicts: of the chain, not of other chains at the hook.
const drop, accept = 0, 1

// natBits are the bits of a connection whose addresses or ports are translated (IPS_SRC_NAT, IPS_DST_NAT).
const natBits = 0x30

// Types of a set's keys, by which nft shows them: an address with a port.
const (
	typeIPv4, typeIPv6, typePort = 7, 8, 13
	typeBits                     = 6
)

// table is ours in nf_tables.
type table struct {
	socket *socket
	name   string
}

// plan is what the table is to do.
type plan struct {
	index    uint32   // of the interface by which SYNs arrive
	arriving uint16   // the group that they are reported to
	leaving  []uint16 // the group of each worker
	tokens   []token  // of each worker
}

// token marks the copies of one worker: no other SYN has its sequence number and window.
type token struct {
	seq uint32
	wnd uint16
}

// batch collects changes that the kernel makes all or none.
type batch struct {
	t    *table
	b    []byte
	n    int // messages
	last int // where the last change begins
}

func (t *table) begin() *batch {
	b := &batch{t: t}
	b.message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	return b
}

func (b *batch) message(kind, flags uint16, family uint8, res uint16, a attributes) {
	b.b = b.t.socket.message(b.b, kind, flags, family, res, a)
	b.n++
}

func (b *batch) add(command, flags uint16, a attributes) {
	b.last = len(b.b)
	b.message(unix.NFNL_SUBSYS_NFTABLES<<8|command, flags, unix.NFPROTO_INET, 0, a)
}

// commit has the changes made. The last of them asks for the acknowledgement: older kernels give none for
// the end of a batch.
func (b *batch) commit() error {
	if b.last == 0 {
		return nil
	}
	const flagsAt = 6
	binary.NativeEndian.PutUint16(b.b[b.last+flagsAt:], binary.NativeEndian.Uint16(b.b[b.last+flagsAt:])|unix.NLM_F_ACK)
	n := b.n
	acknowledged := b.t.socket.seq
	b.message(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	return b.t.socket.exchange(b.b, acknowledged, n)
}

// create makes the table. It fails if there is one of the name, of another toed.
func (t *table) create(p *plan) error {
	b := t.begin()
	b.add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		attributes(nil).text(unix.NFTA_TABLE_NAME, t.name).u32(unix.NFTA_TABLE_FLAGS, ownerFlag))
	b.set(1, set4, typeIPv4, 4)
	b.set(2, set6, typeIPv6, 16)
	b.chain(chainArriving, unix.NF_INET_LOCAL_IN)
	b.chain(chainLeaving, unix.NF_INET_POST_ROUTING)
	for _, rule := range p.rulesArriving() {
		b.rule(chainArriving, rule)
	}
	for _, rule := range p.rulesLeaving() {
		b.rule(chainLeaving, rule)
	}
	return b.commit()
}

func (b *batch) set(id uint32, name string, addr, size uint32) {
	b.add(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, attributes(nil).text(unix.NFTA_SET_TABLE, b.t.name).
		text(unix.NFTA_SET_NAME, name).u32(unix.NFTA_SET_ID, id).
		u32(unix.NFTA_SET_KEY_TYPE, addr<<typeBits|typePort).u32(unix.NFTA_SET_KEY_LEN, size+4))
}

func (b *batch) chain(name string, hook uint32) {
	h := attributes(nil).u32(unix.NFTA_HOOK_HOOKNUM, hook).u32(unix.NFTA_HOOK_PRIORITY, lastPriority)
	b.add(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, attributes(nil).text(unix.NFTA_CHAIN_TABLE, b.t.name).
		text(unix.NFTA_CHAIN_NAME, name).nest(unix.NFTA_CHAIN_HOOK, h).text(unix.NFTA_CHAIN_TYPE, "filter"))
}

func (b *batch) rule(chain string, rule []expression) {
	b.add(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, attributes(nil).text(unix.NFTA_RULE_TABLE, b.t.name).
		text(unix.NFTA_RULE_CHAIN, chain).nest(unix.NFTA_RULE_EXPRESSIONS, encode(rule)))
}

// listeners adds or removes elements of the sets: the local addresses and ports that are the TOE's.
func (t *table) listeners(list []station, on bool) error {
	command, flags := uint16(unix.NFT_MSG_NEWSETELEM), uint16(unix.NLM_F_CREATE)
	if !on {
		command, flags = unix.NFT_MSG_DELSETELEM, 0
	}
	var v4, v6 attributes
	for _, s := range list {
		key := binary.BigEndian.AppendUint16(nil, s.port)
		key = append(key, 0, 0)
		if a := s.addr.Netip(); a.Is4() {
			v4 = v4.element(append(a.AsSlice(), key...))
		} else {
			v6 = v6.element(append(a.AsSlice(), key...))
		}
	}
	b := t.begin()
	for set, elements := range map[string]attributes{set4: v4, set6: v6} {
		if len(elements) > 0 {
			b.add(command, flags, attributes(nil).text(unix.NFTA_SET_ELEM_LIST_TABLE, t.name).
				text(unix.NFTA_SET_ELEM_LIST_SET, set).nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, elements))
		}
	}
	return b.commit()
}

func (a attributes) element(key []byte) attributes {
	return a.nest(unix.NFTA_LIST_ELEM, attributes(nil).nest(unix.NFTA_SET_ELEM_KEY, value(key)))
}

// Where the fields of headers are.
const (
	srcOff4, dstOff4 = 12, 16
	srcOff6, dstOff6 = 8, 24
	portOff          = 2 // destination
	seqOff           = 4
	flagsOff         = 13
	wndOff           = 14
)

const control = byte(wire.FIN | wire.SYN | wire.RST | wire.ACK)

// notSyn is a rule that lets everything pass but SYNs without ACK.
func notSyn() [][]expression {
	return [][]expression{
		{meta(unix.NFT_META_L4PROTO), isNot(octet(unix.IPPROTO_TCP)), verdict(accept)},
		{payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, flagsOff, 1, 0), mask(octet(control)), isNot(octet(byte(wire.SYN))), verdict(accept)},
	}
}

// rulesArriving take the SYNs for the TOE's listeners. Those of connections that the kernel translates
// stay with it: their other segments would not fit.
func (p *plan) rulesArriving() [][]expression {
	rules := [][]expression{{meta(unix.NFT_META_IIF), isNot(number(p.index)), verdict(accept)}}
	rules = append(rules, notSyn()...)
	rules = append(rules, []expression{ctStatus(), mask(number(natBits)), isNot(number(0)), verdict(accept)})
	for _, f := range []struct {
		family    byte
		offset, n int
		set       string
	}{
		{unix.NFPROTO_IPV4, dstOff4, 4, set4},
		{unix.NFPROTO_IPV6, dstOff6, 16, set6},
	} {
		rules = append(rules, []expression{
			meta(unix.NFT_META_NFPROTO), is(octet(f.family)),
			payload(unix.NFT_PAYLOAD_NETWORK_HEADER, f.offset, f.n, 0),
			payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, portOff, 2, f.n/4),
			in(f.set), report(p.arriving), verdict(drop),
		})
	}
	return rules
}

// rulesLeaving take the copies.
func (p *plan) rulesLeaving() [][]expression {
	rules := notSyn()
	for i, t := range p.tokens {
		rules = append(rules, []expression{
			payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, seqOff, 4, 0), is(binary.BigEndian.AppendUint32(nil, t.seq)),
			payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, wndOff, 2, 0), is(binary.BigEndian.AppendUint16(nil, t.wnd)),
			report(p.leaving[i]), verdict(drop),
		})
	}
	return rules
}
