package socket_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/sim/socket"
)

func TestSettings(t *testing.T) {
	cookies := [2][16]byte{{0: 1, 4: 2, 8: 3, 12: 4}, {0: 0xa1, 1: 0xa1, 2: 0xa1, 3: 0xa1, 4: 6, 8: 7, 12: 8}}
	for _, c := range []struct {
		name, value string
		want        func(s *socket.Settings)
	}{
		{"tcp_timestamps", "0", func(s *socket.Settings) { s.Tunables.Timestamps = false }},
		{"tcp_timestamps", "2\n", func(s *socket.Settings) { s.Tunables.Timestamps = true }},
		{"tcp_sack", "0", func(s *socket.Settings) { s.Tunables.SACK = false }},
		{"tcp_window_scaling", "0", func(s *socket.Settings) { s.Tunables.WindowScale = false }},
		{"tcp_ecn", "1", func(s *socket.Settings) { s.Tunables.ECN = tcpoffload.ECNOn }},
		{"tcp_syncookies", "2", func(s *socket.Settings) { s.Tunables.SynCookies = tcpoffload.SynCookiesAlways }},
		{"tcp_mtu_probing", "1", func(s *socket.Settings) { s.Tunables.MTUProbing = tcpoffload.MTUProbingBlackHole }},
		{"tcp_slow_start_after_idle", "0", func(s *socket.Settings) { s.Tunables.IdleRestart = false }},
		{"tcp_abort_on_overflow", "1", func(s *socket.Settings) { s.Tunables.AbortOnOverflow = true }},
		{"tcp_congestion_control", "bbr", func(s *socket.Settings) { s.Tunables.CC = cc.BBR }},
		{"tcp_fastopen", "0x201", func(s *socket.Settings) {
			s.Tunables.FastOpen = tcpoffload.FastOpenClient | tcpoffload.FastOpenServerBare
		}},
		{"tcp_fastopen", "0x402", func(s *socket.Settings) {
			s.Tunables.FastOpen, s.FastOpenListen = tcpoffload.FastOpenServer, true
		}},
		{"tcp_fastopen_key", "1-2-3-4,a1a1a1a1-6-7-8", func(s *socket.Settings) { s.FastOpenKeys = cookies }},
		{"tcp_fastopen_key", "1-2-3-4", func(s *socket.Settings) { s.FastOpenKeys[0] = cookies[0] }},
		{"tcp_rmem", "4096\t20000\t100000", func(s *socket.Settings) {
			s.Tunables.DefaultRcvBuf, s.Tunables.MaxRcvBuf = 10_000, 100_000
		}},
		{"tcp_wmem", "4096 20000 100000", func(s *socket.Settings) { s.SndBuf = 20_000 }},
		{"tcp_notsent_lowat", "100", func(s *socket.Settings) { s.NotSentLowat = 100 }},
		{"tcp_notsent_lowat", "4294967295", func(*socket.Settings) {}},
		{"tcp_min_tso_segs", "2", func(s *socket.Settings) { s.Tunables.BurstSegs = 2 }},
		{"tcp_syn_retries", "3", func(s *socket.Settings) { s.Tunables.SynRetries = 3 }},
		{"tcp_synack_retries", "3", func(s *socket.Settings) { s.Tunables.SynAckRetries = 3 }},
		{"tcp_retries2", "3", func(s *socket.Settings) { s.Tunables.Retries2 = 3 }},
		{"tcp_keepalive_probes", "3", func(s *socket.Settings) { s.Tunables.KeepCnt = 3 }},
		{"tcp_keepalive_time", "3", func(s *socket.Settings) { s.Tunables.KeepIdle = 3 * sec }},
		{"tcp_keepalive_intvl", "3", func(s *socket.Settings) { s.Tunables.KeepIntvl = 3 * sec }},
		{"tcp_fin_timeout", "3", func(s *socket.Settings) { s.Tunables.FinWait2 = 3 * sec }},
		{"tcp_rto_max_ms", "3000", func(s *socket.Settings) { s.Tunables.RTOMax = 3 * sec }},
		{"tcp_rto_min_us", "3000", func(s *socket.Settings) { s.Tunables.RTOMin = 3 * ms }},
	} {
		got := socket.Settings{Tunables: tcpoffload.DefaultTunables()}
		want := got
		c.want(&want)
		require.NoError(t, got.Set("net.ipv4."+c.name, c.value))
		require.Equal(t, want, got, "%s=%s", c.name, c.value)
	}
}

// TestSettingsRefused: what is not a value changes nothing, whatever the setting.
func TestSettingsRefused(t *testing.T) {
	want := socket.Settings{Tunables: tcpoffload.DefaultTunables()}
	got := want
	for _, name := range socket.SettingNames() {
		for _, v := range []string{"", "many", "-1", "99999999999"} {
			require.ErrorIs(t, got.Set(name, v), socket.ErrSetting, "%s=%s", name, v)
		}
	}
	for _, c := range [][2]string{
		{"tcp_sack", "2"}, {"tcp_ecn", "3"}, {"tcp_retries2", "256"}, {"tcp_rmem", "1 2"}, {"tcp_rmem", "1 2 -3"},
		{"tcp_fastopen_key", "1-2-3"}, {"tcp_fastopen_key", "1-2-3-4,1-2-3-4,1-2-3-4"}, {"tcp_fastopen_key", "1-2-3-x"},
	} {
		require.ErrorIs(t, got.Set("net.ipv4."+c[0], c[1]), socket.ErrSetting, c)
	}
	require.ErrorIs(t, got.Set("net.ipv4.tcp_nothing", "1"), socket.ErrNoSetting)
	require.Equal(t, want, got)

	n := newNet(t, "192.0.2.1", "192.0.2.2")
	was := n.a.Settings()
	set := was
	require.NoError(t, set.Set("net.ipv4.tcp_rmem", "4096 1 1"))
	require.NoError(t, set.Set("net.ipv4.tcp_wmem", "1 2 3"))
	require.Error(t, n.a.Configure(&set), "the engine refuses a window of nothing")
	require.Equal(t, was, n.a.Settings())
}

// TestSettingsOfTheSocketLayer: those that the engine does not have are in force as well.
func TestSettingsOfTheSocketLayer(t *testing.T) {
	n := newNet(t, "192.0.2.1", "192.0.2.2")
	set := n.a.Settings()
	require.NoError(t, set.Set("net.ipv4.tcp_wmem", "4096 20000 100000"))
	require.NoError(t, set.Set("net.ipv4.tcp_fastopen", "0x402"))
	require.NoError(t, n.a.Configure(&set))
	require.Equal(t, set, n.a.Settings())
	fd := n.must(n.a, &socket.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM})
	require.Equal(t, 20_000, n.get(n.a, fd, unix.SOL_SOCKET, unix.SO_SNDBUF))
	n.must(n.a, &socket.Listen{FD: fd, Backlog: 7})
	require.Equal(t, 7, n.get(n.a, fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN), "every listener takes Fast Open")
}
