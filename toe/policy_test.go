package toe

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func hits(p *Policy) (list []uint64) {
	for _, r := range p.Rules() {
		list = append(list, r.Hits)
	}
	return list
}

func TestPolicyConnect(t *testing.T) {
	p, err := NewPolicy([]Rule{
		{Role: RolePassive, Offload: No},
		{Role: RoleActive, Remote: prefix("10.1.0.0/16"), RemotePorts: Ports{22, 22}, Offload: No},
		{Remote: prefix("10.1.2.3/16"), CC: CCBBR, MSS: 1000, MaxPacingRate: 5000, NoDelay: Yes, SACK: No, FastOpen: Yes},
		{Local: prefix("fd00::/8"), LocalPorts: Ports{1000, 2000}, ECN: ECNOn, Timestamps: No, Keepalive: Yes, FastOpen: No},
		{Remote: prefix("0.0.0.0/0"), CC: CCReno},
	})
	require.NoError(t, err)
	flow := func(local, remote string, localPort, remotePort uint16) wire.Flow {
		f := wire.Flow{Remote: addr(remote), LocalPort: localPort, RemotePort: remotePort}
		if local != "" {
			f.Local = addr(local)
		}
		return f
	}
	for _, c := range []struct {
		name   string
		flow   wire.Flow
		opt    SocketOptions
		reason Reason
		want   SocketOptions
		rule   int
	}{
		{"by remote port", flow("", "10.1.9.9", 5, 22), SocketOptions{}, ReasonPolicy, SocketOptions{}, 1},
		{"settings", flow("", "10.1.9.9", 5, 23), SocketOptions{}, Offloaded,
			SocketOptions{CC: CCBBR, MSS: 1000, MaxPacingRate: 5000, NoDelay: true, NoSACK: true, FastOpenConn: true}, 2},
		{"the program has chosen", flow("", "10.1.9.9", 5, 23), SocketOptions{CC: CCCubic, MSS: 900, MaxPacingRate: 9000}, Offloaded,
			SocketOptions{CC: CCCubic, MSS: 900, MaxPacingRate: 5000, NoDelay: true, NoSACK: true, FastOpenConn: true}, 2},
		{"IPv6 by local address", flow("fd00::1", "fd00::2", 1000, 1), SocketOptions{FastOpenConn: true}, Offloaded,
			SocketOptions{ECN: ECNOn, NoTimestamps: true, Keepalive: true}, 3},
		{"local port outside", flow("fd00::1", "fd00::2", 2001, 1), SocketOptions{}, Offloaded, SocketOptions{}, -1},
		{"local address not known", flow("", "fd00::2", 1000, 1), SocketOptions{}, Offloaded, SocketOptions{}, -1},
		{"a prefix of one family", flow("", "192.0.2.1", 1, 1), SocketOptions{}, Offloaded, SocketOptions{CC: CCReno}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := hits(p)
			req := ConnectRequest{Flow: c.flow, Opt: c.opt}
			require.Equal(t, c.reason, p.Connect(&req))
			require.Equal(t, c.want, req.Opt)
			if c.rule >= 0 {
				before[c.rule]++
			}
			require.Equal(t, before, hits(p))
		})
	}
	req := ConnectRequest{Flow: flow("", "10.1.9.9", 5, 23)}
	require.Zero(t, testing.AllocsPerRun(100, func() { p.Connect(&req) }))
}

func TestPolicyListenAndAccept(t *testing.T) {
	p, err := NewPolicy([]Rule{
		{Role: RoleActive, Offload: No},
		{Role: RolePassive, Remote: prefix("10.2.0.0/16"), CC: CCDCTCP, NoDelay: Yes, Keepalive: Yes, MaxPacingRate: 7},
		{LocalPorts: Ports{80, 80}, CC: CCBBR, FastOpen: Yes},
		{LocalPorts: Ports{22, 22}, Offload: No},
		{Local: prefix("10.9.0.0/16"), FastOpen: No},
	})
	require.NoError(t, err)
	l := Listener{Port: 80}
	require.Equal(t, Offloaded, p.Listen(&l))
	require.Equal(t, SocketOptions{CC: CCBBR, FastOpen: fastOpenQueue}, l.Opt)
	require.Equal(t, ReasonPolicy, p.Listen(&Listener{Port: 22}))
	l = Listener{Port: 81, Addr: addr("10.9.0.1"), Opt: SocketOptions{FastOpen: 9}}
	require.Equal(t, Offloaded, p.Listen(&l))
	require.Zero(t, l.Opt.FastOpen)
	require.Equal(t, []uint64{0, 0, 1, 1, 1}, hits(p))

	got := map[Option]int64{}
	set := func(o Option, v int64) { got[o] = v }
	require.Zero(t, p.Accept(nil, &wire.Flow{Local: addr("10.9.0.1"), LocalPort: 80, Remote: addr("10.3.0.1")}, Chosen{}, set))
	require.Empty(t, got, "the listener has the settings of a rule without a peer")
	near := wire.Flow{Local: addr("10.9.0.1"), LocalPort: 80, Remote: addr("10.2.0.1")}
	require.EqualValues(t, 7, p.Accept(nil, &near, Chosen{CC: CCReno, MaxPacingRate: 6}, set))
	require.Equal(t, map[Option]int64{OptionNoDelay: 1, OptionKeepalive: 1}, got, "the program has chosen")
	require.EqualValues(t, 7, p.Accept(nil, &near, Chosen{MaxPacingRate: 8}, set))
	require.Equal(t, map[Option]int64{OptionCC: int64(CCDCTCP), OptionNoDelay: 1, OptionKeepalive: 1, OptionMaxPacingRate: 7}, got)
}

func TestPolicyRefusesRules(t *testing.T) {
	peer := prefix("10.0.0.0/8")
	for _, c := range []struct {
		rule    Rule
		setting string
	}{
		{Rule{LocalPorts: Ports{2, 1}}, "local_ports"},
		{Rule{RemotePorts: Ports{9, 0}}, "remote_ports"},
		{Rule{MSS: 20}, "mss"},
		{Rule{MaxPacingRate: 1 << 63}, "max_pacing_rate"},
		{Rule{Role: RolePassive, Remote: peer, Offload: No}, "offload"},
		{Rule{Role: RolePassive, Remote: peer, ECN: ECNOn}, "ecn"},
		{Rule{Role: RolePassive, RemotePorts: Ports{1, 2}, SACK: No}, "sack"},
	} {
		_, err := NewPolicy([]Rule{{}, c.rule})
		var wrong *RuleError
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, c.setting, wrong.Setting)
		require.Equal(t, 1, wrong.Index)
		require.Contains(t, err.Error(), "policy[1]."+c.setting)
	}
	var none *Policy
	require.Equal(t, Offloaded, none.Connect(&ConnectRequest{}))
	require.Equal(t, Offloaded, none.Listen(&Listener{}))
	require.Nil(t, none.Rules())
}

func TestOptionNames(t *testing.T) {
	for _, name := range CCNames() {
		c, ok := ParseCC(name)
		require.True(t, ok)
		require.Equal(t, name, c.String())
	}
	_, ok := ParseCC("vegas")
	require.False(t, ok)
	require.Equal(t, "unknown", CC(99).String())
	for _, name := range []string{"", "off", "passive", "on"} {
		e, ok := ParseECN(name)
		require.True(t, ok)
		require.Equal(t, name, e.String())
	}
	_, ok = ParseECN("maybe")
	require.False(t, ok)
	require.Equal(t, "unknown", ECN(99).String())
}

func TestPolicyClients(t *testing.T) {
	nginx := &Client{Program: "/usr/sbin/nginx", UID: 33, GID: 34, Cgroup: "/system.slice/web.service/workers"}
	for _, c := range []struct {
		name   string
		rule   Rule
		client *Client
		want   bool
	}{
		{"name", Rule{Program: "nginx"}, nginx, true},
		{"another name", Rule{Program: "ngin"}, nginx, false},
		{"glob", Rule{Program: "n*x"}, nginx, true},
		{"path", Rule{Program: "/usr/sbin/nginx"}, nginx, true},
		{"path with glob", Rule{Program: "/usr/*/ngin[a-z]"}, nginx, true},
		{"a star is no slash", Rule{Program: "/usr/*"}, nginx, false},
		{"another path", Rule{Program: "/opt/nginx"}, nginx, false},
		{"program not known", Rule{Program: "*"}, &Client{UID: 33}, false},
		{"uid", Rule{UID: IDs{33, 33, true}}, nginx, true},
		{"uids", Rule{UID: IDs{0, 32, true}}, nginx, false},
		{"root", Rule{UID: IDs{0, 0, true}}, nginx, false},
		{"gid", Rule{GID: IDs{34, 40, true}}, nginx, true},
		{"another gid", Rule{GID: IDs{33, 33, true}}, nginx, false},
		{"cgroup", Rule{Cgroup: "/system.slice/web.service/workers"}, nginx, true},
		{"cgroup above", Rule{Cgroup: "/system.slice"}, nginx, true},
		{"cgroup beside", Rule{Cgroup: "/system"}, nginx, false},
		{"cgroup not known", Rule{Cgroup: "/system.slice"}, &Client{}, false},
		{"all", Rule{Program: "nginx", UID: IDs{33, 33, true}, Cgroup: "/system.slice"}, nginx, true},
		{"all but one", Rule{Program: "nginx", UID: IDs{34, 34, true}, Cgroup: "/system.slice"}, nginx, false},
		{"nobody", Rule{UID: IDs{0, 1 << 31, true}}, nil, false},
		{"anybody", Rule{}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.rule.Offload = No
			p, err := NewPolicy([]Rule{c.rule})
			require.NoError(t, err)
			want := map[bool]Reason{true: ReasonPolicy, false: Offloaded}[c.want]
			req := &ConnectRequest{Client: c.client}
			require.Equal(t, want, p.Connect(req))
			require.Equal(t, want, p.Listen(&Listener{Port: 1, Client: c.client}))
			require.Zero(t, testing.AllocsPerRun(10, func() { p.Connect(req) }))
		})
	}
	for _, r := range []Rule{{Program: "a["}, {Program: "a/b"}, {UID: IDs{2, 1, true}}, {GID: IDs{2, 1, true}}, {Cgroup: "a"}, {Cgroup: "/a/"}} {
		_, err := NewPolicy([]Rule{r})
		require.ErrorAs(t, err, new(*RuleError))
	}
}

// Rules are replaced all at once; wrong ones change nothing.
func TestPolicyLoad(t *testing.T) {
	p, err := NewPolicy([]Rule{{Offload: No}})
	require.NoError(t, err)
	connect := func() Reason { return p.Connect(&ConnectRequest{}) }
	require.Equal(t, ReasonPolicy, connect())
	require.Error(t, p.Load([]Rule{{}, {MSS: 1}}))
	require.Equal(t, ReasonPolicy, connect())
	require.Equal(t, []uint64{2}, hits(p))
	require.NoError(t, p.Load([]Rule{{Offload: Yes}, {Offload: No}}))
	require.Equal(t, Offloaded, connect())
	require.Equal(t, []uint64{1, 0}, hits(p))
	loads, past := p.Loads()
	require.EqualValues(t, 2, loads)
	require.EqualValues(t, 2, past)
	require.Equal(t, 0, p.Match(&Opening{}))
	require.Equal(t, []uint64{1, 0}, hits(p), "Match counts nothing")
}
