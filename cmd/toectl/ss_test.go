package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/cmd/internal/ctl"
)

var some = []ctl.Socket{
	{State: "LISTEN", SendQ: 128, Local: "0.0.0.0:80", Remote: "*", Program: "nginx", PID: 7,
		Users: []ctl.User{{Program: "nginx", PID: 7, FD: 6}, {Program: "nginx", PID: 8, FD: 6}}},
	{State: "LISTEN", SendQ: 128, Local: "[::]:80", Remote: "*", V6: true},
	{State: "LISTEN", SendQ: 128, Local: "[::]:81", Remote: "*", V6: true, V6Only: true},
	{State: "ESTABLISHED", RecvQ: 5, Local: "10.99.0.1:80", Remote: "10.99.0.2:4000", Program: "nginx", PID: 8,
		TCP: &ctl.TCPInfo{Timestamps: true, SACK: true, CC: "cubic", SndWscale: 7, RcvWscale: 8, RTONS: 204e6, RTTNS: 150e3,
			RTTVarNS: 75e3, MSS: 1448, PathMTU: 1500, Cwnd: 14480, Ssthresh: 28960, BytesSent: 1000, BytesAcked: 1000,
			SegsOut: 3, SegsIn: 2, PacingRate: 1e6, DeliveryRate: 125e6, BusyNS: 20e6, RwndLimitedNS: 5e6, Retrans: 2,
			LastSndNS: 12e6, Timer: "keepalive", TimerLeftNS: 119e9}},
	{State: "TIME-WAIT", Local: "[fd99::1]:80", Remote: "[fd99::2]:4001",
		TCP: &ctl.TCPInfo{Timer: "timewait", TimerLeftNS: 59999e6}},
	{State: "CLOSED", Local: "10.99.0.1:80", Remote: "10.99.0.2:4002"},
}

func shown(t *testing.T, v view, words ...string) (ports []string) {
	t.Helper()
	keep, err := v.filter(words)
	require.NoError(t, err)
	for i := range some {
		if keep(&some[i]) {
			ports = append(ports, some[i].State)
		}
	}
	return ports
}

func TestSSFilter(t *testing.T) {
	require.Equal(t, []string{"ESTABLISHED", "TIME-WAIT"}, shown(t, view{}))
	require.Equal(t, []string{"LISTEN", "LISTEN", "LISTEN"}, shown(t, view{listening: true}))
	require.Len(t, shown(t, view{all: true}), len(some))
	require.Equal(t, []string{"LISTEN", "ESTABLISHED", "CLOSED"}, shown(t, view{all: true, v4: true}))
	require.Equal(t, []string{"TIME-WAIT"}, shown(t, view{v6: true}))
	require.Len(t, shown(t, view{all: true, v4: true, v6: true}), len(some))
	require.Equal(t, []string{"ESTABLISHED"}, shown(t, view{listening: true}, "state", "established"))
	require.Equal(t, []string{"ESTABLISHED", "CLOSED"}, shown(t, view{}, "state", "established", "state", "CLOSED"))
	require.Equal(t, []string{"TIME-WAIT"}, shown(t, view{}, "state", "bucket"))
	require.Equal(t, []string{"TIME-WAIT"}, shown(t, view{}, "state", "all", "exclude", "listening", "exclude", "established", "exclude", "closed"))
	for _, words := range [][]string{{"state"}, {"state", "happy"}, {"sport", "=", ":80"}} {
		_, err := (&view{}).filter(words)
		require.Error(t, err)
	}
}

func TestSSColumns(t *testing.T) {
	var b strings.Builder
	v := view{users: true, timers: true}
	v.print(&b, some)
	require.Equal(t, strings.TrimPrefix(`
State     Recv-Q Send-Q Local Address:Port Peer Address:Port Process
LISTEN    0      128    0.0.0.0:80         0.0.0.0:*         users:(("nginx",pid=7,fd=6),("nginx",pid=8,fd=6))
LISTEN    0      128    *:80               *:*
LISTEN    0      128    [::]:81            [::]:*
ESTAB     5      0      10.99.0.1:80       10.99.0.2:4000    users:(("nginx",pid=8)) timer:(keepalive,1min59sec,0)
TIME-WAIT 0      0      [fd99::1]:80       [fd99::2]:4001    timer:(timewait,59sec,0)
UNCONN    0      0      10.99.0.1:80       10.99.0.2:4002
`, "\n"), b.String())

	b.Reset()
	v = view{info: true, noHeader: true, oneLine: true}
	v.print(&b, some[3:4])
	require.Equal(t, "ESTAB 5 0 10.99.0.1:80 10.99.0.2:4000 ts sack cubic wscale:7,8 rto:204 rtt:0.15/0.075 mss:1448 pmtu:1500 "+
		"cwnd:10 ssthresh:20 bytes_sent:1000 bytes_acked:1000 segs_out:3 segs_in:2 send 772Mbps lastsnd:12 "+
		"pacing_rate 8Mbps delivery_rate 1Gbps busy:20ms rwnd_limited:5ms(25.0%) retrans:0/2\n", b.String())
}

func TestCountdown(t *testing.T) {
	for d, want := range map[time.Duration]string{
		200 * time.Millisecond: "200ms", 2024 * time.Millisecond: "2.024ms", 12500 * time.Millisecond: "12sec",
		119 * time.Second: "1min59sec", 15*time.Minute + time.Second: "15min", 0: "0ms",
	} {
		require.Equal(t, want, countdown(d))
	}
}

func TestBBRWords(t *testing.T) {
	d := details(&ctl.TCPInfo{CC: "bbr", BBR: &ctl.BBR{Bandwidth: 125000, MinRTTNS: 1500e3, PacingGain: 739, CwndGain: 512}})
	require.Contains(t, d, "bbr:(bw:1Mbps,mrtt:1.5,pacing_gain:2.88672,cwnd_gain:2)")
	d = details(&ctl.TCPInfo{CC: "dctcp", DCTCP: &ctl.DCTCP{Alpha: 1024, Marked: 5, Acked: 10}})
	require.Contains(t, d, "dctcp:(ce_state:0,alpha:1024,ab_ecn:5,ab_tot:10)")
}
