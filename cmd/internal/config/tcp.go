package config

import (
	"slices"

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
		SndBuf:            Size(t.DefaultSndBuf),
		SndBufMax:         Size(t.MaxSndBuf),
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
		ChallengeAcks:     int(t.ChallengeAcks),
		Pacing:            t.Pacing,
		IdleRestart:       t.IdleRestart,
		ECN:               ecnModes[t.ECN],
		SynCookies:        cookieModes[t.SynCookies],
		AbortOnOverflow:   t.AbortOnOverflow,
		FastOpen:          fastOpenModes[t.FastOpen&fastOpenSides],
		FastOpenBare:      fastOpenModes[t.FastOpen>>fastOpenBareShift],
		BurstSegments:     int(t.BurstSegs),
		MTUProbing:        probingModes[t.MTUProbing],
		MinPathMTU:        int(t.MinPMTU),
		UserTimeout:       t.UTO,
		UserTimeoutMin:    Duration(t.UTOMin),
		UserTimeoutMax:    Duration(t.UTOMax),
		SACK:              t.SACK,
		Timestamps:        t.Timestamps,
		WindowScaling:     t.WindowScale,
	}
}

// Tunables returns the engine's settings; the values have passed the checks, so they fit.
func (c *TCP) Tunables() tcpoffload.Tunables {
	t := tcpoffload.DefaultTunables()
	t.CC, _ = cc.ParseAlgorithm(c.CongestionControl)
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
	t.ChallengeAcks = uint8(c.ChallengeAcks)
	t.Pacing, t.IdleRestart = c.Pacing, c.IdleRestart
	t.ECN = tcpoffload.ECNMode(slices.Index(ecnModes, c.ECN))
	t.SynCookies = tcpoffload.SynCookieMode(slices.Index(cookieModes, c.SynCookies))
	t.AbortOnOverflow = c.AbortOnOverflow
	t.FastOpen = tcpoffload.FastOpenMode(slices.Index(fastOpenModes, c.FastOpen) |
		slices.Index(fastOpenModes, c.FastOpenBare)<<fastOpenBareShift)
	t.BurstSegs = uint8(c.BurstSegments)
	t.MTUProbing = tcpoffload.MTUProbing(slices.Index(probingModes, c.MTUProbing))
	t.MinPMTU = uint16(c.MinPathMTU)
	t.DefaultSndBuf, t.MaxSndBuf = uint32(c.SndBuf), uint32(c.SndBufMax)
	t.UTO, t.UTOMin, t.UTOMax = c.UserTimeout, vtime.Duration(c.UserTimeoutMin), vtime.Duration(c.UserTimeoutMax)
	return t
}

// The engine's modes of Fast Open are the sides, and those of them that do without cookies.
const (
	fastOpenSides     = tcpoffload.FastOpenClient | tcpoffload.FastOpenServer
	fastOpenBareShift = 2
)

// Names of the engine's modes in a file, by their numbers.
var (
	ecnModes      = []string{tcpoffload.ECNOff: "off", tcpoffload.ECNPassive: "passive", tcpoffload.ECNOn: "on"}
	cookieModes   = []string{tcpoffload.SynCookiesOff: "off", tcpoffload.SynCookiesOverflow: "overflow", tcpoffload.SynCookiesAlways: "always"}
	fastOpenModes = []string{"off", tcpoffload.FastOpenClient: "client", tcpoffload.FastOpenServer: "server",
		tcpoffload.FastOpenClient | tcpoffload.FastOpenServer: "both"}
	probingModes = []string{tcpoffload.MTUProbingOff: "off", tcpoffload.MTUProbingBlackHole: "black_hole", tcpoffload.MTUProbingAlways: "always"}
)

// congestionControls are the names that the engine knows.
func congestionControls() (names []string) {
	for a := range cc.Algorithm(cc.NumAlgorithms) {
		names = append(names, a.String())
	}
	return names
}
