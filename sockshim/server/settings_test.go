package server

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// fakeOption is a setting that a fakeDev was given.
type fakeOption struct {
	tid    toe.TID
	listen toe.ListenID
	o      toe.Option
	value  int64
}

// urgentEnds returns where the device was told that urgent octets end.
func (r *rig) urgentEnds() []uint64 {
	r.dev.mu.Lock()
	defer r.dev.mu.Unlock()
	return append([]uint64(nil), r.dev.urgent...)
}

// An urgent octet reaches the device as the end of what is sent before it, though more was written since.
func TestUrgentOctetIsSentAsSuch(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	r.write(slot, 10, 'a')
	atomic.StoreUint64(&p.TxUrg, 13)
	r.write(slot, 3, 'U')
	r.write(slot, 7, 'b')
	r.post(0, shm.OpTxData, slot, 0)
	r.dev.iterate()
	require.Equal(t, []uint64{13}, r.urgentEnds())
	require.EqualValues(t, 20, c.end)
	r.write(slot, 1, 'c')
	r.post(0, shm.OpTxData, slot, 0)
	r.dev.iterate()
	require.Len(t, r.urgentEnds(), 1, "told once")

	// One that the client only claims is none.
	atomic.StoreUint64(&p.TxUrg, 1<<40)
	r.write(slot, 1, 'd')
	r.post(0, shm.OpTxData, slot, 0)
	r.dev.iterate()
	require.Len(t, r.urgentEnds(), 1)
	require.EqualValues(t, 22, c.end)
}

func TestUrgentOctetIsAnnounced(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	seq := atomic.LoadUint32(&p.EventSeq)
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventUrgent, Pos: 5})
	require.EqualValues(t, 5, atomic.LoadUint64(&p.RxUrg))
	require.NotEqual(t, seq, atomic.LoadUint32(&p.EventSeq))
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventUrgent, Pos: 4})
	require.EqualValues(t, 5, atomic.LoadUint64(&p.RxUrg), "the mark never moves back")
}

// With a low-water mark a writer goes on when enough was sent, not when it is acknowledged.
func TestLowWaterMark(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, tid := r.connect(0)
	p := &r.mem.Slots[slot]
	atomic.StoreUint64(&p.ReqValue, 1000)
	r.post(0, shm.OpSetTCBField, slot, shm.OptNotSentLowat)
	r.dev.iterate()
	require.EqualValues(t, 1000, atomic.LoadUint32(&p.TxLowat))
	require.Contains(t, r.dev.options, fakeOption{tid: tid, o: toe.OptionNotSentLowat, value: 1000})
	r.write(slot, 5000, 'x')
	r.post(0, shm.OpTxData, slot, 0)
	r.dev.iterate()
	atomic.StoreUint32(&p.TxNospace, 1)
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventAcked, Pos: 10})
	require.EqualValues(t, 1, atomic.LoadUint32(&p.TxNospace), "4990 octets may be unsent")
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventSent, Pos: 4500})
	require.EqualValues(t, 4500, atomic.LoadUint64(&p.TxSent))
	require.Zero(t, atomic.LoadUint32(&p.TxNospace))

	atomic.StoreUint64(&p.ReqValue, lowatNone)
	r.post(0, shm.OpSetTCBField, slot, shm.OptNotSentLowat)
	r.dev.iterate()
	require.Zero(t, atomic.LoadUint32(&p.TxLowat), "as Linux, that is no mark")
}

// The device tunes the send buffer, up and never beyond what the program has fixed.
func TestSendBufferIsTuned(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventSndBuf, Pos: 1 << 20})
	require.EqualValues(t, 1<<20, atomic.LoadUint64(&p.TxLimit))
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventSndBuf, Pos: 1 << 19})
	require.EqualValues(t, 1<<20, atomic.LoadUint64(&p.TxLimit))
	atomic.StoreUint64(&p.ReqValue, 8192)
	r.post(0, shm.OpSetTCBField, slot, shm.OptSndBuf)
	r.dev.iterate()
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventSndBuf, Pos: 1 << 22})
	require.EqualValues(t, 8192, atomic.LoadUint64(&p.TxLimit))
}

// ask takes a slot and asks for an open with the settings that edit makes.
func (r *rig) ask(op uint8, edit func(p *shm.Slot)) (uint32, *shm.Slot) {
	slot := r.mem.SlotLoans[0].Take()
	require.NotZero(r.t, slot)
	p := &r.mem.Slots[slot]
	p.ReqFamily, p.ReqLocalPort = 4, uint16(1024+slot)
	edit(p)
	atomic.StoreUint32(&p.State, shm.SlotOpening)
	r.post(0, op, slot, 16)
	r.dev.iterate()
	return slot, p
}

func toPeer(p *shm.Slot) {
	p.ReqRemoteAddr, p.ReqRemotePort = wire.AddrFrom4([4]byte{10, 7, 0, 2}), 80
}

// A SYN that waits takes what is written before the handshake ends; without a write there is nothing to tell.
func TestFastOpenWaitsForOctets(t *testing.T) {
	r := newRig(t, 1, nil)
	r.dev.synRoom = 1000
	fast := func(p *shm.Slot) {
		toPeer(p)
		p.ReqFastopen = shm.FastOpenUse | shm.FastOpenHold | shm.FastOpenBare
	}
	slot, p := r.ask(shm.OpActOpenReq, fast)
	require.EqualValues(t, shm.SlotSynSent, atomic.LoadUint32(&p.State))
	require.True(t, r.dev.lastOpt.FastOpenConn && r.dev.lastOpt.FastOpenHold && r.dev.lastOpt.FastOpenBare)
	require.EqualValues(t, 1000, p.SynRoom)
	c := r.dev.conns[r.dev.lastTID]
	require.Empty(t, r.dev.ends, "it waits")
	r.write(slot, 100, 'f')
	r.post(0, shm.OpTxData, slot, 0)
	r.dev.iterate()
	require.Equal(t, []uint64{100}, r.dev.ends)
	b := make([]byte, 100)
	require.True(t, r.dev.up.Fetch(c.sock, 0, b))
	r.post(0, shm.OpAbortReq, slot, 0)
	r.dev.iterate()

	slot, _ = r.ask(shm.OpActOpenReq, fast)
	r.post(0, shm.OpTxData, slot, 0)
	r.dev.iterate()
	require.Equal(t, []uint64{100, 0}, r.dev.ends, "the SYN goes without octets")
	r.post(0, shm.OpAbortReq, slot, 0)
	r.dev.iterate()

	r.dev.synRoom = 0
	slot, p = r.ask(shm.OpActOpenReq, fast)
	require.Zero(t, p.SynRoom)
	r.post(0, shm.OpTxData, slot, 0)
	r.dev.iterate()
	require.Len(t, r.dev.ends, 2, "nothing can be written before the handshake ends")
	r.post(0, shm.OpAbortReq, slot, 0)
	r.dev.iterate()
	r.check()
}

// end notes the end of a message in slot's send stream, as a client does before its last octet is there.
func (r *rig) end(slot uint32, pos uint64) {
	p := &r.mem.Slots[slot]
	p.TxEor[p.EorProd%shm.EORs] = uint32(pos)
	atomic.AddUint32(&p.EorProd, 1)
}

// Borders of messages reach the device in their places, though more was written since, and an urgent octet
// between them.
func TestBordersAreTold(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	for range 3 {
		r.end(slot, atomic.LoadUint64(&p.TxProd)+10)
		r.write(slot, 10, 'm')
	}
	atomic.StoreUint64(&p.TxUrg, 15)
	r.end(slot, 50) // not written yet
	r.write(slot, 5, 'r')
	r.post(0, shm.OpTxData, slot, 0)
	r.dev.iterate()
	require.Equal(t, []uint64{10, 20, 30}, r.dev.borders)
	require.Equal(t, []uint64{15}, r.urgentEnds())
	require.EqualValues(t, 35, c.end)
	require.EqualValues(t, 3, atomic.LoadUint32(&p.EorCons))
	r.write(slot, 15, 'r')
	r.post(0, shm.OpTxData, slot, 0)
	r.dev.iterate()
	require.Equal(t, []uint64{10, 20, 30, 50}, r.dev.borders)

	// One behind us is none.
	r.end(slot, 50)
	r.write(slot, 1, 'x')
	r.post(0, shm.OpTxData, slot, 0)
	r.dev.iterate()
	require.Len(t, r.dev.borders, 4)
	require.EqualValues(t, 5, atomic.LoadUint32(&p.EorCons))
}

func TestOpenCarriesSettings(t *testing.T) {
	r := newRig(t, 1, nil)
	_, p := r.ask(shm.OpActOpenReq, func(p *shm.Slot) {
		toPeer(p)
		p.ReqCc, p.ReqMaxPacing, p.ReqLowat = shm.CCBBR, 1<<33, 777
		p.ReqTos, p.ReqTtl = 0x28, 9
		p.ReqSynretries, p.ReqClamp, p.ReqUserTimeout = 200, 5000, 30_000
	})
	require.Equal(t, toe.SocketOptions{
		CC: toe.CCBBR, MaxPacingRate: 1 << 33, NotSentLowat: 777, TOS: 0x28, TTL: 9,
		SynRetries: 127, RcvClamp: 5000, UserTimeout: 30_000,
	}, r.dev.lastOpt)
	require.EqualValues(t, 777, atomic.LoadUint32(&p.TxLowat))
}

// The rules of the policy decide and set.
func TestRules(t *testing.T) {
	rules, err := toe.NewPolicy([]toe.Rule{
		{RemotePorts: toe.Ports{First: 22, Last: 22}, Offload: toe.No},
		{Role: toe.RolePassive, Remote: netip.MustParsePrefix("10.7.0.0/24"), CC: toe.CCDCTCP},
		{CC: toe.CCBBR},
	})
	require.NoError(t, err)
	r := newRig(t, 1, func(c *Config) { c.Rules = rules })
	_, p := r.ask(shm.OpActOpenReq, func(p *shm.Slot) { toPeer(p); p.ReqRemotePort = 22 })
	require.EqualValues(t, shm.SlotDeclined, atomic.LoadUint32(&p.State))
	require.EqualValues(t, toe.ReasonPolicy, p.Reason)
	r.ask(shm.OpActOpenReq, toPeer)
	require.Equal(t, toe.CCBBR, r.dev.lastOpt.CC)

	slot, p := r.ask(shm.OpPassOpenReq, func(p *shm.Slot) { p.ReqLocalPort = 80 })
	require.Eventually(t, func() bool { r.dev.iterate(); return atomic.LoadUint32(&p.State) == shm.SlotListen }, waitFor, tick)
	var id toe.ListenID
	r.dev.mu.Lock()
	for id = range r.dev.listens {
	}
	require.Equal(t, toe.CCBBR, r.dev.listens[id].Opt.CC)
	tid, c := r.dev.add(wire.Flow{Local: wire.AddrFrom(fakePrefix.Addr()), LocalPort: 80, Remote: wire.AddrFrom4([4]byte{10, 7, 0, 9}), RemotePort: 5})
	c.sock, _ = r.dev.up.PassEstablish(0, id, tid, &c.flow)
	require.NotZero(t, c.sock)
	require.Contains(t, r.dev.options, fakeOption{tid: tid, o: toe.OptionCC, value: int64(toe.CCDCTCP)})
	r.dev.mu.Unlock()
	for i, want := range []uint64{1, 1, 2} {
		require.Equal(t, want, rules.Rules()[i].Hits, "rule %d", i)
	}

	// A listener takes settings for the connections to come.
	atomic.StoreUint64(&r.mem.Slots[slot].ReqValue, 99)
	r.post(0, shm.OpSetTCBField, slot, shm.OptFastOpen)
	r.dev.iterate()
	require.Eventually(t, func() bool {
		r.dev.mu.Lock()
		defer r.dev.mu.Unlock()
		for _, o := range r.dev.options {
			if o == (fakeOption{listen: id, o: toe.OptionFastOpen, value: 99}) {
				return true
			}
		}
		return false
	}, waitFor, tick)
}

// A bound of the policy holds for what the program sets when the connection is open, too.
func TestPacingStaysBound(t *testing.T) {
	rules, err := toe.NewPolicy([]toe.Rule{{MaxPacingRate: 1000}})
	require.NoError(t, err)
	r := newRig(t, 1, func(c *Config) { c.Rules = rules })
	set := func(slot uint32, rate uint64) {
		atomic.StoreUint64(&r.mem.Slots[slot].ReqValue, rate)
		r.post(0, shm.OpSetTCBField, slot, shm.OptMaxPacingRate)
		r.dev.iterate()
	}
	slot, _ := r.ask(shm.OpActOpenReq, toPeer)
	require.EqualValues(t, 1000, r.dev.lastOpt.MaxPacingRate)
	for rate, given := range map[uint64]int64{0: 1000, 900: 900, 1001: 1000, 1 << 63: 1000} {
		r.dev.options = nil
		set(slot, rate)
		require.Len(t, r.dev.options, 1)
		require.Equal(t, toe.OptionMaxPacingRate, r.dev.options[0].o)
		require.Equal(t, given, r.dev.options[0].value)
	}

	slot, p := r.ask(shm.OpPassOpenReq, func(p *shm.Slot) { p.ReqLocalPort = 80 })
	require.Eventually(t, func() bool { r.dev.iterate(); return atomic.LoadUint32(&p.State) == shm.SlotListen }, waitFor, tick)
	r.dev.mu.Lock()
	defer r.dev.mu.Unlock()
	var id toe.ListenID
	for id = range r.dev.listens {
	}
	flow := wire.Flow{Local: wire.AddrFrom(fakePrefix.Addr()), LocalPort: 80, Remote: wire.AddrFrom4([4]byte{10, 7, 0, 9}), RemotePort: 5}
	tid, c := r.dev.add(flow)
	c.sock, _ = r.dev.up.PassEstablish(0, id, tid, &c.flow)
	sh, n := r.srv.layer.find(c.sock)
	require.EqualValues(t, 1000, sh.sock(n).pacingBound)
}

// A listener that opens while the rules change has the new ones' settings, like those that were open before.
func TestListenMeetsALoad(t *testing.T) {
	rules, err := toe.NewPolicy([]toe.Rule{{CC: toe.CCReno}})
	require.NoError(t, err)
	r := newRig(t, 1, func(c *Config) { c.Rules = rules })
	r.dev.onListen = func() {
		if err := rules.Load([]toe.Rule{{CC: toe.CCBBR}}); err != nil {
			panic(err)
		}
	}
	_, p := r.ask(shm.OpPassOpenReq, func(p *shm.Slot) { p.ReqLocalPort = 80 })
	require.Eventually(t, func() bool { r.dev.iterate(); return atomic.LoadUint32(&p.State) == shm.SlotListen }, waitFor, tick)
	open := r.srv.cfg.Registry.Listeners()
	require.Len(t, open, 1)
	require.Equal(t, toe.CCBBR, open[0].Opt.CC)
}
