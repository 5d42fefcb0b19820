package softdev

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

func TestConfigCheck(t *testing.T) {
	q, _ := newMemWire(t, 8, false)
	for _, c := range []struct {
		name   string
		change func(c *Config)
		want   string // part of the error, "" for none
	}{
		{"sound", func(*Config) {}, ""},
		{"no name", func(c *Config) { c.Name = "" }, "needs a name"},
		{"no port", func(c *Config) { c.Ports = nil }, "needs a port"},
		{"missing port", func(c *Config) { c.Ports[0].Port = nil }, "port 0: it is missing"},
		{"too many ports", func(c *Config) { c.Ports = slices.Repeat(c.Ports, 5) }, "5 ports, at most 4"},
		{"an address twice", func(c *Config) { c.Ports = slices.Repeat(c.Ports, 2) }, "port 1: address 10.9.0.1 stands on port mem0"},
		{"a port without a queue", func(c *Config) { c.Ports = append(c.Ports, PortQueues{Port: testPort(t, 1, true)}) }, "port 1: 0 queues for 1 workers"},
		{"no queue", func(c *Config) { c.Ports[0].Queues = nil }, "needs a queue"},
		{"two queues, no RSS", func(c *Config) { c.Ports[0].Queues = []ports.Queue{q, q} }, "RSS"},
		{"short key", func(c *Config) { c.Ports[0].RSS = &RSS{Key: make([]byte, 20)} }, "RSS key of 20 octets"},
		{"descriptors", func(c *Config) { c.Ports[0].WaitFDs = [][]int{{1}, {2}} }, "wait descriptors for 2 workers"},
		{"counters of ports", func(c *Config) { c.PortUse = make([][]uint32, 2) }, "counters of ports for 2 workers"},
		{"processors", func(c *Config) { c.CPUs = []int{0, 1} }, "processors for 2 workers"},
		{"no connections", func(c *Config) { c.MaxConns = 0 }, "0 connections"},
		{"too many connections", func(c *Config) { c.MaxConns = 1 << 24 }, "16777216 connections"},
		{"too many half-open", func(c *Config) { c.HalfOpens = 1 << 22 }, "4194304 half-open connections"},
		{"bursts", func(c *Config) { c.Flights = -1 }, "-1 bursts in flight"},
		{"islands", func(c *Config) { c.Islands = 1 << 29 }, "536870912 islands"},
		{"TIME-WAIT", func(c *Config) { c.TimeWaits = -1 }, "-1 connections in TIME-WAIT"},
		{"no listeners", func(c *Config) { c.MaxListeners = 0 }, "0 listeners"},
		{"time", func(c *Config) { c.Spin = -1 }, "negative"},
		{"tunable", func(c *Config) { c.Tunables.RTOMin = 0 }, "RTOMin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{Name: "toe0", Ports: []PortQueues{{Port: testPort(t, 0, true), Queues: []ports.Queue{q}}},
				MaxConns: 4, MaxListeners: 4, Tunables: tcpoffload.DefaultTunables()}
			c.change(&cfg)
			d, err := New(cfg)
			if c.want == "" {
				require.NoError(t, err)
				require.NoError(t, d.Close())
				require.NoError(t, d.Close())
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

// The vectors of Microsoft's "Verifying the RSS Hash Calculation".
func TestToeplitz(t *testing.T) {
	key, err := hex.DecodeString("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
	require.NoError(t, err)
	const queues = 1 << 16
	for _, c := range []struct {
		remote, local string
		want          uint32
	}{
		{"66.9.149.187:2794", "161.142.100.80:1766", 0x51ccc178},
		{"199.92.111.2:14230", "65.69.140.83:4739", 0xc626b0ea},
		{"24.19.198.95:12898", "12.22.207.184:38024", 0x5c2b394a},
		{"[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x40207d3d},
		{"[3ffe:501:8::260:97ff:fe40:efab]:14230", "[ff02::1]:4739", 0xdde51bbf},
	} {
		r, l := netip.MustParseAddrPort(c.remote), netip.MustParseAddrPort(c.local)
		f := wire.Flow{Remote: wire.AddrFrom(r.Addr()), RemotePort: r.Port(),
			Local: wire.AddrFrom(l.Addr()), LocalPort: l.Port()}
		rss := RSS{Key: key}
		require.Equal(t, int(c.want%queues), rss.queueOf(&f, queues), c.remote)
		rss.Table = []uint16{3, 2, 1, 0}
		require.Equal(t, int(3-c.want%4), rss.queueOf(&f, 4))
	}
}

func TestSteerConnect(t *testing.T) {
	a, _ := newMemWire(t, 8, false)
	b, _ := newMemWire(t, 8, false)
	port, err := ports.New(ports.Config{Name: "p", MAC: macs[0], MTU: 1500, Workers: 2,
		Addresses: []netip.Prefix{netip.PrefixFrom(addr4[0], 24)}})
	require.NoError(t, err)
	key := make([]byte, 40)
	for i := range key {
		key[i] = byte(i * 37)
	}
	d, err := New(Config{Name: "toe0", Ports: []PortQueues{{Port: port, Queues: []ports.Queue{a, b}, RSS: &RSS{Key: key}}},
		MaxConns: 5, MaxListeners: 4, Tunables: tcpoffload.DefaultTunables()})
	require.NoError(t, err)
	defer d.Close()
	require.Equal(t, 6, d.Info().MaxConns, "the same number on each worker")
	seen := map[int]int{}
	for i := range uint16(100) {
		f := wire.Flow{Local: wire.AddrFrom(addr4[0]), Remote: wire.AddrFrom(addr4[1]), LocalPort: 1000 + i, RemotePort: 80}
		w := d.SteerConnect(&f)
		f.Local = wire.Addr{}
		require.Equal(t, w, d.SteerConnect(&f), "an open local address is ours")
		seen[w]++
	}
	require.Len(t, seen, 2)
	require.Greater(t, min(seen[0], seen[1]), 20)
	for i, w := range d.workers {
		tid := w.tid(tcpoffload.Handle(9<<32 | 5))
		got, h := d.owner(tid)
		require.Same(t, d.workers[i], got)
		require.Equal(t, tcpoffload.Handle(9<<32|5), h)
	}
	_, reason := d.Connect(2, &toe.ConnectRequest{})
	require.Equal(t, toe.ReasonInvalid, reason)
}

// An address of ours says by itself whose segments they are, also when nothing leads to the other end at the
// moment and without asking the kernel, which ICMP errors could make a worker do again and again.
func TestSteerConnectByOurAddress(t *testing.T) {
	var cfg Config
	kernel := &silentKernel{}
	for p := range 2 {
		a, _ := newMemWire(t, 8, false)
		b, _ := newMemWire(t, 8, false)
		port, err := ports.New(ports.Config{Name: fmt.Sprint("p", p), MAC: macs[p], MTU: 1500, Workers: 2, Control: kernel,
			Addresses: []netip.Prefix{netip.PrefixFrom(addr4[p], 32)}})
		require.NoError(t, err)
		key := make([]byte, 40)
		for i := range key {
			key[i] = byte(i * (37 + 4*p))
		}
		cfg.Ports = append(cfg.Ports, PortQueues{Port: port, Queues: []ports.Queue{a, b}, RSS: &RSS{Key: key}})
	}
	cfg.Name, cfg.MaxConns, cfg.MaxListeners, cfg.Tunables = "toe0", 4, 4, tcpoffload.DefaultTunables()
	d, err := New(cfg)
	require.NoError(t, err)
	defer d.Close()
	for p := range 2 {
		for i := range uint16(50) {
			f := wire.Flow{Local: wire.AddrFrom(addr4[p]), LocalPort: 1000 + i, RemotePort: 80,
				Remote: wire.AddrFrom4([4]byte{198, 51, 100, 1})}
			require.Equal(t, d.cfg.Ports[p].RSS.queueOf(&f, 2), d.SteerConnect(&f))
		}
	}
	require.Zero(t, kernel.asked)
}

// silentKernel has no routes.
type silentKernel struct{ asked int }

func (k *silentKernel) Resolve(*ports.Port, wire.Addr) {}
func (k *silentKernel) Confirm(*ports.Port, wire.Addr) {}

func (k *silentKernel) Lookup(_, _ wire.Addr) (h ports.Hop, err error) {
	k.asked++
	return h, toe.ErrNotFound
}

func (k *silentKernel) Known(_, _ wire.Addr) (h ports.Hop, err error, ok bool) { return h, nil, false }

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range NumDrops {
		require.False(t, seen[r.String()])
		seen[r.String()] = true
	}
	require.False(t, seen["unknown"])
	require.Equal(t, "unknown", NumDrops.String())
	require.Equal(t, "adaptive", Adaptive.String())
	require.Equal(t, "busy", Busy.String())
}

// Tables have the sizes that they are given.
func TestTableSizes(t *testing.T) {
	q, _ := newMemWire(t, 8, false)
	c := Config{Ports: []PortQueues{{Queues: []ports.Queue{q}}}, MaxConns: 10, MaxListeners: 4}
	small := tcpoffload.NewMemoryOf(c.sizes())
	c.HalfOpens, c.TimeWaits, c.Flights, c.Islands = 11, 12, 100_000, 200_000
	m := tcpoffload.NewMemoryOf(c.sizes())
	require.Len(t, m.HalfOpens, 11)
	require.Len(t, m.TimeWaits, 12)
	require.Greater(t, len(m.Flights), 100_000)
	require.Greater(t, len(m.Ranges), 200_000)
	require.Less(t, len(small.Flights), 100_000)
	require.Len(t, m.Conns, len(small.Conns))
}
