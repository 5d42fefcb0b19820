package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

const (
	ms  = vtime.Millisecond
	sec = vtime.Second

	// Both initial sequence numbers are close to the wrap, so that every test crosses it.
	peerISS = seq.Num(0xffffff00)

	mss = 1460 // payload of a full segment in scripts: no timestamps unless asked for
)

// script is an engine and a peer played by hand. The peer's numbers are relative: sequence numbers
// to its ISS, acknowledgments to the engine's. Whatever the engine wants to send is taken after every
// step and waits for expect.
type script struct {
	t    testing.TB
	e    *Engine
	out  *Output
	now  vtime.Time
	flow wire.Flow // as the engine sees it
	h    Handle
	iss  seq.Num // the engine's
	segs []TxSegment
	acts []Action
	wnd  uint16 // what the peer announces
	peer sackPeer
	ts   bool // the peer sends timestamps: its clock is the virtual time in ms
}

func newScript(t testing.TB, edit func(*Config)) *script {
	cfg := Config{Memory: NewMemory(8, 4), Tunables: DefaultTunables(), Seed: 1, ISNKey: [16]byte{1}}
	if edit != nil {
		edit(&cfg)
	}
	e, err := New(cfg)
	require.NoError(t, err)
	return &script{
		t: t, e: e, out: NewOutput(128, 128), now: vtime.Time(100 * sec), wnd: 65535,
		flow: wire.Flow{
			Local: wire.AddrFrom4([4]byte{192, 0, 2, 1}), LocalPort: 80,
			Remote: wire.AddrFrom4([4]byte{192, 0, 2, 2}), RemotePort: 4000,
		},
	}
}

// listen opens the port of the flow.
func (s *script) listen(backlog int64, opt SocketOptions) ListenerID {
	c := Call{Kind: CallListen, Flow: wire.Flow{LocalPort: s.flow.LocalPort}, Value: backlog, Cookie: 77, Opt: opt}
	require.Equal(s.t, CallOK, s.e.Call(s.now, &c, s.out))
	return c.Listener
}

// call makes a call on the connection and takes what follows from it.
func (s *script) call(c Call) CallResult {
	if c.Handle == 0 && c.Listener == 0 {
		c.Handle = s.h
	}
	r := s.e.Call(s.now, &c, s.out)
	s.collect()
	return r
}

func (s *script) send(end uint64) { s.ok(s.call(Call{Kind: CallSend, Pos: end})) }
func (s *script) read(pos uint64) { s.ok(s.call(Call{Kind: CallReceived, Pos: pos})) }
func (s *script) close()          { s.ok(s.call(Call{Kind: CallClose})) }
func (s *script) option(o Option, value int64) {
	s.ok(s.call(Call{Kind: CallSetOption, Option: o, Value: value}))
}
func (s *script) ok(r CallResult) { s.t.Helper(); require.Equal(s.t, CallOK, r) }

// seg returns a segment of the peer.
func (s *script) seg(flags wire.Flags, sq, n, ack uint32) Segment {
	g := Segment{Flow: s.flow, Flags: flags, Seq: peerISS.Add(sq), Len: n, Wnd: s.wnd}
	if flags.Has(wire.ACK) {
		g.Ack = s.iss.Add(ack)
	}
	if s.ts {
		g.Opt.Set |= wire.OptTimestamps
		g.Opt.TSVal = s.peerTS()
	}
	return g
}

func (s *script) peerTS() uint32 { return uint32(int64(s.now) / int64(ms)) }

// in lets a segment of the peer arrive.
func (s *script) in(flags wire.Flags, sq, n, ack uint32) DropReason {
	return s.inject(s.seg(flags, sq, n, ack))
}

// sack lets an ACK with SACK blocks arrive, given as pairs of numbers relative to the engine's ISS.
func (s *script) sack(sq, ack uint32, blocks ...uint32) DropReason {
	g := s.seg(wire.ACK, sq, 0, ack)
	g.Opt.Set |= wire.OptSACK
	for i := 0; i < len(blocks); i += 2 {
		g.Opt.SACK[g.Opt.NumSACK] = wire.SACKBlock{Left: s.iss.Add(blocks[i]), Right: s.iss.Add(blocks[i+1])}
		g.Opt.NumSACK++
	}
	return s.inject(g)
}

func (s *script) inject(g Segment) DropReason {
	d := s.e.Arrive(s.now, &g, s.out)
	s.collect()
	return d
}

// collect runs Transmit and takes segments and actions.
func (s *script) collect() {
	for s.e.Pending() {
		n := len(s.out.Segs)
		s.e.Transmit(s.now, 64, s.out)
		if len(s.out.Segs) == n {
			break
		}
	}
	s.segs = append(s.segs, s.out.Segs...)
	s.acts = append(s.acts, s.out.Actions...)
	s.out.Reset()
}

// wait lets time pass, timers included.
func (s *script) wait(d vtime.Duration) {
	end := s.now.Add(d)
	for s.e.NextDeadline() <= end {
		s.now = max(s.now, s.e.NextDeadline())
		s.e.Expire(s.now, s.out)
		s.collect()
	}
	s.now = end
}

// expect takes the oldest segment sent and demands its flags, relative numbers and length.
func (s *script) expect(flags wire.Flags, sq, n, ack uint32) TxSegment {
	s.t.Helper()
	require.NotEmpty(s.t, s.segs, "no segment sent, expected %v", flags)
	g := s.segs[0]
	s.segs = s.segs[1:]
	require.Equal(s.t, flags.String(), g.Flags.String(), "flags")
	require.Equal(s.t, sq, uint32(g.Seq-s.iss), "sequence number")
	require.Equal(s.t, n, g.Len, "length")
	if flags.Has(wire.ACK) {
		require.Equal(s.t, ack, uint32(g.Ack-peerISS), "acknowledgment")
	}
	if n > 0 {
		require.Equal(s.t, uint64(sq-1), g.Pos, "stream position")
	}
	return g
}

// quiet demands that nothing was sent.
func (s *script) quiet() {
	s.t.Helper()
	require.Empty(s.t, s.segs)
}

// skip forgets what was sent so far and returns how many segments it was.
func (s *script) skip() int {
	n := len(s.segs)
	s.segs = s.segs[:0]
	return n
}

// action takes the first action of kind k.
func (s *script) action(k ActionKind) Action {
	s.t.Helper()
	for i, a := range s.acts {
		if a.Kind == k {
			s.acts = append(s.acts[:i:i], s.acts[i+1:]...)
			return a
		}
	}
	require.Fail(s.t, "action missing", "kind %d in %v", k, s.acts)
	return Action{}
}

// noAction demands that no action of kind k is left.
func (s *script) noAction(k ActionKind) {
	s.t.Helper()
	for _, a := range s.acts {
		require.NotEqual(s.t, k, a.Kind)
	}
}

// entry returns the handle of what there is of the flow: also of what is half-open or in TIME-WAIT.
func (s *script) entry() Handle {
	var info Info
	for h, ok := s.e.Next(0); ok; h, ok = s.e.Next(h.Index() + 1) {
		if s.e.Info(h, s.now, &info) && info.Flow == s.flow {
			return h
		}
	}
	return 0
}

// state demands the connection's state.
func (s *script) state(want State) {
	s.t.Helper()
	var info Info
	if !s.e.Info(s.entry(), s.now, &info) {
		require.Equal(s.t, want, StateClosed, "the connection is gone")
		return
	}
	require.Equal(s.t, want.String(), info.State.String())
}

func (s *script) info() Info {
	s.t.Helper()
	var info Info
	require.True(s.t, s.e.Info(s.h, s.now, &info))
	return info
}

// options that a peer's SYN may carry.
func synOptions(set wire.OptionSet) wire.Options {
	return wire.Options{Set: set, MSS: mss, WScale: 7}
}

// passive establishes a connection by a SYN of the peer. Afterwards nothing is waiting in s.
func (s *script) passive(set wire.OptionSet, opt SocketOptions) {
	s.t.Helper()
	s.listen(8, opt)
	s.ts = set&wire.OptTimestamps != 0
	syn := s.seg(wire.SYN, 0, 0, 0)
	syn.Opt = synOptions(set)
	syn.Opt.TSVal = s.peerTS()
	require.Equal(s.t, DropNone, s.inject(syn))
	require.Len(s.t, s.segs, 1)
	s.iss = s.segs[0].Seq
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	s.now = s.now.Add(10 * ms)
	require.Equal(s.t, DropNone, s.in(wire.ACK, 1, 0, 1))
	s.h = s.action(ActPassEstablished).Handle
	s.e.SetCookie(s.h, 5)
	s.state(StateEstablished)
	s.quiet()
	s.acts = s.acts[:0]
}
