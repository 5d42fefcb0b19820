package config

import (
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
)

// tcpDefaults states the engine's own defaults in the terms of a file.
func tcpDefaults() TCP {
	t := tcpoffload.DefaultTunables()
	return TCP{
		CongestionControl: t.CC.String(),
		MaxConnections:    65536,
		MaxListeners:      1024,
		InitialWindow:     int(t.InitCwnd),
		RcvBuf:            Size(t.DefaultRcvBuf),
		RcvBufMax:         Size(t.MaxRcvBuf),
		SndBuf:            1 * MiB,
		SndBufMax:         4 * MiB,
		RTOMin:            Duration(t.RTOMin),
		RTOMax:            Duration(t.RTOMax),
		RTOInitial:        Duration(t.RTOInit),
		MSL:               Duration(t.MSL),
		DelayedAck:        Duration(t.DelAck),
		DelayedAckMax:     int(t.DelAckSegs),
		FinWait2:          Duration(t.FinWait2),
		KeepIdle:          Duration(t.KeepIdle),
		KeepInterval:      Duration(t.KeepIntvl),
		KeepCount:         int(t.KeepCnt),
		PersistMin:        Duration(t.PersMin),
		PersistMax:        Duration(t.PersMax),
		SynRetries:        int(t.SynRetries),
		SynAckRetries:     int(t.SynAckRetries),
		DataRetries:       int(t.Retries2),
		SACK:              t.SACK,
		Timestamps:        t.Timestamps,
		WindowScaling:     t.WindowScale,
	}
}

// Tunables returns the engine's settings; the values have passed the checks, so they fit.
func (c *TCP) Tunables() tcpoffload.Tunables {
	t := tcpoffload.DefaultTunables()
	t.CC = cc.Cubic
	if c.CongestionControl == cc.Reno.String() {
		t.CC = cc.Reno
	}
	t.InitCwnd = uint8(c.InitialWindow)
	t.DefaultRcvBuf, t.MaxRcvBuf = uint32(c.RcvBuf), uint32(c.RcvBufMax)
	t.RTOMin, t.RTOMax, t.RTOInit = vtime.Duration(c.RTOMin), vtime.Duration(c.RTOMax), vtime.Duration(c.RTOInitial)
	t.MSL = vtime.Duration(c.MSL)
	t.DelAck, t.DelAckSegs = vtime.Duration(c.DelayedAck), uint8(c.DelayedAckMax)
	t.FinWait2 = vtime.Duration(c.FinWait2)
	t.KeepIdle, t.KeepIntvl, t.KeepCnt = vtime.Duration(c.KeepIdle), vtime.Duration(c.KeepInterval), uint8(c.KeepCount)
	t.PersMin, t.PersMax = vtime.Duration(c.PersistMin), vtime.Duration(c.PersistMax)
	t.SynRetries, t.SynAckRetries, t.Retries2 = uint8(c.SynRetries), uint8(c.SynAckRetries), uint8(c.DataRetries)
	t.SACK, t.Timestamps, t.WindowScale = c.SACK, c.Timestamps, c.WindowScaling
	return t
}
