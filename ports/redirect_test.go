package ports_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/ports"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

var (
	router4, gateway4 = addr("10.99.0.254"), addr("10.99.0.252")
	router6, gateway6 = addr("fe80::fe"), addr("fe80::fc")
	remote4, remote6  = addr("198.51.100.1"), addr("2001:db8::1")
)

// routed is a bench whose IPv6 router has a link-local address, as they have.
func routed(t *testing.T, change func(*ports.Config)) *bench {
	return newBench(t, func(c *ports.Config) {
		c.Routes[2].Via = router6.Netip()
		if change != nil {
			change(c)
		}
	})
}

// way returns the neighbour by which packets from us to remote leave.
func (b *bench) way(remote wire.Addr) wire.Addr {
	b.Helper()
	local := our4
	if !remote.Is4() {
		local = our6
	}
	idx, _, ok := b.host.Exit(b.now, local, remote, true)
	require.True(b, ok)
	return b.neighbour(idx)
}

func (b *bench) neighbour(idx uint32) wire.Addr {
	b.Helper()
	for _, n := range b.port.Neighbours(b.now) {
		if other, _ := b.host.Neighbour(n.Addr); other == idx {
			return n.Addr
		}
	}
	b.Fatalf("index %d names nothing", idx)
	return wire.Addr{}
}

// redirect redirects what goes by the way that packets to remote leave now.
func (b *bench) redirect(from, remote, gateway wire.Addr) bool {
	b.Helper()
	idx, ok := b.host.Neighbour(b.way(remote))
	require.True(b, ok)
	return b.host.Redirect(b.now, idx, from, remote, gateway)
}

func TestRedirect(t *testing.T) {
	for name, c := range map[string]struct{ remote, other, router, gateway wire.Addr }{
		"IPv4": {remote4, addr("198.51.100.2"), router4, gateway4},
		"IPv6": {remote6, addr("2001:db8::2"), router6, gateway6},
	} {
		t.Run(name, func(t *testing.T) {
			b := routed(t, nil)
			require.Equal(t, c.router, b.way(c.remote))
			require.True(t, b.redirect(c.router, c.remote, c.gateway))
			require.Equal(t, c.gateway, b.way(c.remote))
			require.Equal(t, c.router, b.way(c.other), "another destination")
			idx, ok := b.host.Towards(b.now, c.remote, c.router)
			require.True(t, ok)
			require.Equal(t, c.gateway, b.neighbour(idx), "new connections")
			idx, _ = b.host.Towards(b.now, c.remote, peer4)
			require.Equal(t, peer4, b.neighbour(idx), "somebody else's way there is not redirected")
			require.EqualValues(t, 1, b.count(ports.CountRedirected))

			b.now = b.now.Add(299 * vtime.Second)
			require.Equal(t, c.gateway, b.way(c.remote))
			b.now = b.now.Add(2 * vtime.Second)
			require.Equal(t, c.router, b.way(c.remote), "it does not hold for ever")
		})
	}
}

// The gateway of a redirect redirects further.
func TestRedirectAgain(t *testing.T) {
	b := routed(t, nil)
	third := addr("10.99.0.251")
	require.True(t, b.redirect(router4, remote4, gateway4))
	require.True(t, b.redirect(gateway4, remote4, third))
	require.Equal(t, third, b.way(remote4))
	require.False(t, b.redirect(gateway4, remote4, gateway4), "it is not the way any more")
	require.EqualValues(t, 1, b.count(ports.CountRedirectForged))
}

// Anything that changes about the port ends what was redirected: routes are read anew.
func TestChangeEndsRedirects(t *testing.T) {
	b := routed(t, nil)
	require.True(t, b.redirect(router4, remote4, gateway4))
	v := b.port.View()
	v.MTU = 1400
	require.NoError(t, b.port.Apply(v))
	require.Equal(t, router4, b.way(remote4))
}

// With policy routing a redirect holds for what the kernel sends by that router.
func TestRedirectOfAskedRoute(t *testing.T) {
	b, k := newControlled(t)
	v := b.port.View()
	v.Complete = false
	require.NoError(t, b.port.Apply(v))
	k.hops[remote4] = ports.Hop{Via: router4, Index: 7}
	require.True(t, b.redirect(router4, remote4, gateway4))
	require.Equal(t, gateway4, b.way(remote4))
	k.hops[remote4] = ports.Hop{Via: peer4, Index: 7}
	require.Equal(t, peer4, b.way(remote4))
}

func TestRedirectRefused(t *testing.T) {
	refuse := func(bool) ports.RedirectRules { return ports.RedirectRules{Refuse: true} }
	offLink := func(bool) ports.RedirectRules { return ports.RedirectRules{OffLink: true} }
	listed := func(bool) ports.RedirectRules { return ports.RedirectRules{Listed: true} }
	for name, c := range map[string]struct {
		from, remote, gateway wire.Addr
		rules                 func(bool) ports.RedirectRules
		want                  ports.Counter
	}{
		"not our router":               {gateway4, remote4, gateway4, nil, ports.CountRedirectForged},
		"not our router, IPv6":         {gateway6, remote6, gateway6, nil, ports.CountRedirectForged},
		"to itself":                    {router4, remote4, router4, nil, ports.CountRedirectRefused},
		"to us":                        {router4, remote4, our4, nil, ports.CountRedirectRefused},
		"off the link":                 {router4, remote4, addr("192.0.2.9"), nil, ports.CountRedirectRefused},
		"to a group":                   {router4, remote4, addr("224.0.0.5"), nil, ports.CountRedirectRefused},
		"to nobody":                    {router4, remote4, addr("0.0.0.0"), nil, ports.CountRedirectRefused},
		"to another family":            {router4, remote4, gateway6, nil, ports.CountRedirectRefused},
		"to loopback":                  {router4, remote4, addr("127.0.0.1"), nil, ports.CountRedirectRefused},
		"the destination, no prefix":   {router4, remote4, remote4, nil, ports.CountRedirectRefused},
		"the destination, shared link": {router4, remote4, remote4, offLink, ports.CountRedirected},
		"the destination, IPv6":        {router6, remote6, remote6, nil, ports.CountRedirected},
		"settings":                     {router4, remote4, gateway4, refuse, ports.CountRedirectRefused},
		"gateway of no route":          {router4, remote4, gateway4, listed, ports.CountRedirectRefused},
		"gateway of a route":           {router4, remote4, addr("10.99.0.253"), listed, ports.CountRedirected},
	} {
		t.Run(name, func(t *testing.T) {
			b := routed(t, func(cfg *ports.Config) { cfg.Redirects = c.rules })
			before := b.way(c.remote)
			require.Equal(t, c.want == ports.CountRedirected, b.redirect(c.from, c.remote, c.gateway))
			require.EqualValues(t, 1, b.count(c.want))
			if c.want != ports.CountRedirected {
				require.Equal(t, before, b.way(c.remote))
			} else {
				require.Equal(t, c.gateway, b.way(c.remote))
			}
		})
	}
	b := routed(t, nil)
	require.False(t, b.host.Redirect(b.now, 1<<ports.HopBits-1, router4, remote4, gateway4), "an index that names nothing")
}

// A gateway that does not answer is left again, and nobody redirects to it for a while.
func TestRedirectToNobody(t *testing.T) {
	b := routed(t, nil)
	require.True(t, b.redirect(router4, remote4, gateway4))
	idx, _ := b.host.Neighbour(gateway4)
	require.Empty(t, b.send(idx, remote4, "one"))
	var failed []uint32
	for len(failed) == 0 {
		_, failed = b.expire(vtime.Second)
	}
	require.Equal(t, []uint32{idx}, failed)
	require.True(t, b.host.Unredirect(idx))
	require.False(t, b.host.Unredirect(idx))
	require.Equal(t, router4, b.way(remote4))
	require.False(t, b.redirect(router4, remote4, gateway4))
	b.now = b.now.Add(61 * vtime.Second)
	require.True(t, b.redirect(router4, remote4, gateway4))
}

// Redirects are bounded in a second and in all; the oldest makes room.
func TestRedirectsAreLimited(t *testing.T) {
	b := routed(t, nil)
	dst := func(i int) wire.Addr { return wire.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}) }
	taken := 0
	for i := range 100 {
		if b.redirect(router4, dst(i), gateway4) {
			taken++
		}
	}
	require.Equal(t, 20, taken)
	require.EqualValues(t, 80, b.count(ports.CountRedirectLimited))
	for i := range 1030 {
		b.now = b.now.Add(100 * vtime.Millisecond)
		require.True(t, b.redirect(router4, dst(1000+i), gateway4))
	}
	require.Equal(t, router4, b.way(dst(0)))
	require.Equal(t, router4, b.way(dst(1005)))
	require.Equal(t, gateway4, b.way(dst(1006)))
	require.Equal(t, gateway4, b.way(dst(2029)))
}

// A static route may name a router by its link-local address, if the port has an IPv6 address.
func TestLinkLocalGateway(t *testing.T) {
	b := routed(t, func(c *ports.Config) { c.Routes[2].Dst = netip.MustParsePrefix("2001:db8::/32") })
	sent := b.send(b.hop(remote6), remote6, "one")
	require.Empty(t, sent)
	sent, _ = b.expire(0)
	require.Len(t, sent, 1)
	require.Equal(t, wire.AddrFrom(netip.MustParseAddr("ff02::1:ff00:fe")), wire.IPv6(sent[0][wire.EthernetLen:]).Dst())
	cfg := config()
	cfg.Addresses, cfg.Routes = cfg.Addresses[:1], []ports.Route{{Dst: netip.MustParsePrefix("::/0"), Via: router6.Netip()}}
	_, err := ports.New(cfg)
	require.ErrorIs(t, err, ports.ErrInvalid)
}
