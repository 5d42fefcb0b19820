package softdev

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/hwregs"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// Registers show and change the running device.
func TestRegisters(t *testing.T) {
	th := newThreads(t, Adaptive, true)
	d := th.dev[0]
	bank := hwregs.New()
	require.NoError(t, d.BindRegisters(bank))
	get := func(name string) uint64 {
		t.Helper()
		v, err := bank.Get(name)
		require.NoError(t, err)
		return v
	}
	def := tcpoffload.DefaultTunables()
	require.EqualValues(t, def.RTOMin, get("TP_RXT_MIN"))
	require.NoError(t, bank.Set("TP_RXT_MIN", uint64(300*time.Millisecond)))
	th.on(0, func() { require.Equal(t, 300*vtime.Millisecond, th.w[0].eng.Tunables().RTOMin) })
	require.NoError(t, bank.Set("TP_PARA_REG0.InitCwnd", 4))
	require.NoError(t, bank.Set("TP_PARA_REG1.InitRwnd", 128<<10))
	got, err := d.Tunables()
	require.NoError(t, err)
	def.RTOMin, def.InitCwnd, def.DefaultRcvBuf = 300*vtime.Millisecond, 4, 128<<10
	require.Equal(t, def, got, "and nothing else")

	// What the engine refuses is not set anywhere.
	require.ErrorIs(t, bank.Set("TP_RXT_MIN", uint64(time.Nanosecond)), tcpoffload.ErrTunable)
	got, err = d.Tunables()
	require.NoError(t, err)
	require.Equal(t, def, got)
	require.EqualValues(t, 1, get("PL_ERR"))

	require.NotZero(t, get("PL_HEARTBEAT"))
	require.EqualValues(t, 64, get("LE_DB_ACTIVE_SIZE"))
	require.Equal(t, toe.Offloaded, d.ListenStart(&toe.Listener{ID: 1, Port: 80}))
	require.EqualValues(t, 1, get("LE_DB_SERVER_INUSE"))
	require.Zero(t, get("TP_MIB_TCP_ACTIVE_OPENS"))
	require.NoError(t, th.dev[1].Detach()) // nobody answers
	var s *fakeSock
	th.on(0, func() { s = th.connect(0, addr4[0], addr4[1], 0) })
	require.EqualValues(t, 1, get("TP_MIB_TCP_ACTIVE_OPENS"))
	require.EqualValues(t, 1, get("LE_DB_ACTIVE_INUSE"))
	th.on(0, func() { d.SendRST(s.tid); s.tid = 0 })
	require.EqualValues(t, 1, get("TP_MIB_TCP_ATTEMPT_FAILS"))
	require.Zero(t, get("LE_DB_ACTIVE_INUSE"))

	// They outlive the workers.
	require.NoError(t, d.Detach())
	require.EqualValues(t, 1, get("TP_MIB_TCP_ACTIVE_OPENS"))
	require.NoError(t, bank.Set("TP_RXT_MIN", uint64(400*time.Millisecond)))
	got, err = d.Tunables()
	require.NoError(t, err)
	require.Equal(t, 400*vtime.Millisecond, got.RTOMin)
	_, err = d.Snapshot(1)
	require.ErrorIs(t, err, toe.ErrInvalid)
}

// Every register of the map that is ours is bound.
func TestRegistersAreComplete(t *testing.T) {
	th := newThreads(t, Adaptive, true)
	bank := hwregs.New()
	require.NoError(t, th.dev[0].BindRegisters(bank))
	for _, blk := range hwregs.Blocks() {
		switch blk.Name {
		case "TP", "TPX", "TP_MIB", "LE":
		default:
			continue
		}
		for _, r := range blk.Regs {
			switch r.Name {
			case "TP_TCP_OPTIONS": // the engine decides for each socket
			case "TPX_TW_INUSE": // the engine does not tell
			case "TP_MIB_RDATA": // an index register
			default:
				_, err := bank.Get(r.Name)
				require.NoError(t, err)
			}
		}
	}
}

// The switches and modes of the engine change through their registers, and refuse nonsense.
func TestModeRegisters(t *testing.T) {
	p := newPair(t, true)
	d := p.dev[0]
	bank := hwregs.New()
	require.NoError(t, d.BindRegisters(bank))
	for name, v := range map[string]uint64{
		"TP_TCP_OPTIONS.SACKMode": 0, "TP_TCP_OPTIONS.TimestampsMode": 0, "TP_TCP_OPTIONS.WindowScaleMode": 0,
		"TPX_MODES.Pacing": 1, "TPX_MODES.IdleRestart": 0, "TPX_MODES.AbortOnOverflow": 1,
		"TPX_ECN_MODE": 3, "TPX_SYN_COOKIES": 2, "TPX_FAST_OPEN.Sides": 9, "TPX_BURST_SEGS": 4, "TPX_MTU_PROBING": 2, "TPX_MIN_PMTU": 1000,
	} {
		require.NoError(t, bank.Set(name, v), name)
		got, err := bank.Get(name)
		require.NoError(t, err)
		require.Equal(t, v, got, name)
	}
	tun, err := d.Tunables()
	require.NoError(t, err)
	require.False(t, tun.SACK || tun.Timestamps || tun.WindowScale || tun.IdleRestart)
	require.True(t, tun.Pacing && tun.AbortOnOverflow)
	require.Equal(t, tcpoffload.ECNOn, tun.ECN)
	require.Equal(t, tcpoffload.FastOpenClient|tcpoffload.FastOpenServerBare, tun.FastOpen)
	require.EqualValues(t, 4, tun.BurstSegs)
	require.Error(t, bank.Set("TPX_BURST_SEGS", 256))
	require.Error(t, bank.Set("TPX_ECN_MODE", 9))
	require.Error(t, bank.Set("TPX_MIN_PMTU", 10))
}
