package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// A program that has chosen before it opens tells the peer with the SYN, and with the first segment once
// more; what the SYN-ACK says counts only when it has not.
func TestUserTimeoutOptionOnSyn(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  SocketOptions
		set  wire.OptionSet
		want int64
	}{
		{"chosen", SocketOptions{UserTimeout: 30 * sec}, wire.OptUserTimeout, 30},
		{"not chosen", SocketOptions{}, 0, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, func(c *Config) { c.Tunables.UTO = true })
			s.active(c.opt)
			for k := range 2 { // the first is lost
				s.wait(vtime.Duration(k) * 2 * sec)
				syn := s.segs[0]
				s.expect(wire.SYN, 0, 0, 0)
				require.Equal(t, c.set, syn.Opt.Set&wire.OptUserTimeout)
				require.Equal(t, c.set != 0, syn.Opt.UserTimeout == 30)
			}
			g := s.seg(wire.SYN|wire.ACK, 0, 0, 1)
			g.Opt = synOptions(wire.OptMSS | wire.OptUserTimeout)
			g.Opt.UserTimeout = 200
			require.Equal(t, DropNone, s.inject(g))
			ack := s.expect(wire.ACK, 1, 0, 1)
			require.Equal(t, c.set, ack.Opt.Set&wire.OptUserTimeout)
			require.EqualValues(t, c.want, s.info().UserTimeout/sec)
		})
	}
}

// A long cookie leaves no room for the option on the SYN.
func TestUserTimeoutOptionGivesWay(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.UTO = true })
	p := s.e.fastOpenRemember(s.flow.Remote, s.now)
	p.mss, p.cookieLen = mss, wire.MaxFastOpenCookie
	s.active(SocketOptions{UserTimeout: 30 * sec, FastOpenConn: true})
	o := &s.segs[0].Opt
	require.Zero(t, o.Set&wire.OptUserTimeout)
	require.NotZero(t, o.Set&wire.OptFastOpen)
	require.LessOrEqual(t, o.Len(), wire.MaxOptionsLen)
}
