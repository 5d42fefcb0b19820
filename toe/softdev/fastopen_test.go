package softdev

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// A SYN that is to take octets along waits for them and says how many; borders do not change what arrives.
func TestFastOpenHeld(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	s := p.up[0].add(0)
	r := toe.ConnectRequest{Sock: s.id, Flow: wire.Flow{
		Local: wire.AddrFrom(addr4[0]), LocalPort: 40000, Remote: wire.AddrFrom(addr4[1]), RemotePort: 80,
	}}
	r.Opt.FastOpenConn, r.Opt.FastOpenHold, r.Opt.FastOpenBare = true, true, true
	tid, reason := p.dev[0].Connect(0, &r)
	require.Equal(t, toe.Offloaded, reason)
	s.tid = tid
	require.EqualValues(t, 1500-40-40, r.SynRoom)
	for range 1000 {
		p.now = p.now.Add(vtime.Millisecond)
		p.turn(0)
		p.turn(1)
	}
	require.Empty(t, s.events, "it waits")
	require.Empty(t, p.up[1].socks)

	s.total, s.written = 900, 900
	p.dev[0].OutputBorder(tid, 300)
	p.dev[0].OutputBorder(tid, 600)
	p.dev[0].Output(tid, 900, false)
	p.run(vtime.Second, func() bool { return len(p.up[1].socks) == 1 && p.up[1].socks[0].read == 900 })
	require.Zero(t, p.up[1].socks[0].wrong)
	require.EqualValues(t, 1, p.w[0].eng.MIB().FastOpenActiveFail, "the listener does without Fast Open")

	// Without a cookie, and asking for one, it goes at once.
	s = p.up[0].add(0)
	r.Sock, r.Opt.FastOpenBare, r.Flow.LocalPort = s.id, false, 40001
	s.tid, reason = p.dev[0].Connect(0, &r)
	require.Equal(t, toe.Offloaded, reason)
	p.run(vtime.Second, func() bool { return len(s.events) > 0 })
	require.Equal(t, toe.EventEstablished, s.events[0])
}

// Settings of an open that only the engine can show.
func TestOpenSettings(t *testing.T) {
	p := newPair(t, true)
	s := p.up[0].add(0)
	r := toe.ConnectRequest{Sock: s.id, Flow: wire.Flow{
		Local: wire.AddrFrom(addr4[0]), LocalPort: 40000, Remote: wire.AddrFrom(addr4[1]), RemotePort: 80,
	}}
	r.Opt.SynRetries, r.Opt.RcvClamp, r.Opt.UserTimeout = 1, 5000, 90_000
	tid, reason := p.dev[0].Connect(0, &r)
	require.Equal(t, toe.Offloaded, reason)
	s.tid = tid
	var info toe.ConnInfo
	require.True(t, p.dev[0].ConnInfo(tid, &info))
	require.EqualValues(t, 5000, info.RcvLimit)
	require.NoError(t, p.dev[0].SetOption(tid, toe.OptionRcvClamp, 4000))
	require.NoError(t, p.dev[0].SetOption(tid, toe.OptionSynRetries, 2))
	require.ErrorIs(t, p.dev[0].SetOption(tid, toe.OptionSynRetries, 200), toe.ErrInvalid)
	require.True(t, p.dev[0].ConnInfo(tid, &info))
	require.EqualValues(t, 4000, info.RcvLimit)
}
