package softdev

import (
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// engineOptions translates the settings of an open. The ECN modes have the same numbers here and there.
func engineOptions(o *toe.SocketOptions) tcpoffload.SocketOptions {
	e := tcpoffload.SocketOptions{
		RcvBuf: o.RcvBuf, SndBuf: o.SndBuf, MSS: o.MSS, NoDelay: o.NoDelay, Keepalive: o.Keepalive,
		NoSACK: o.NoSACK, NoTimestamp: o.NoTimestamps, ECN: tcpoffload.ECNMode(o.ECN),
		MaxPacingRate: o.MaxPacingRate, NotSentLowat: o.NotSentLowat,
		FastOpen: o.FastOpen, FastOpenConn: o.FastOpenConn, FastOpenHold: o.FastOpenHold, FastOpenBare: o.FastOpenBare,
		TOS: o.TOS, TTL: o.TTL, RcvClamp: o.RcvClamp, SynRetries: o.SynRetries,
		UserTimeout: vtime.Duration(o.UserTimeout) * vtime.Millisecond,
	}
	if a, ok := algorithm(o.CC); ok {
		e.CC = cc.Choose(a)
	}
	return e
}

// algorithm translates a congestion control; ok is false for the default and for one that the engine
// does not have.
func algorithm(c toe.CC) (a cc.Algorithm, ok bool) {
	name := c.String()
	for a := range cc.Algorithm(cc.NumAlgorithms) {
		if a.String() == name {
			return a, true
		}
	}
	return 0, false
}

// options are the engine's names of the options, 0 where it has none.
var options = [...]tcpoffload.Option{
	toe.OptionNoDelay:       tcpoffload.OptionNoDelay,
	toe.OptionCork:          tcpoffload.OptionCork,
	toe.OptionKeepalive:     tcpoffload.OptionKeepalive,
	toe.OptionKeepIdle:      tcpoffload.OptionKeepIdle,
	toe.OptionKeepIntvl:     tcpoffload.OptionKeepIntvl,
	toe.OptionKeepCnt:       tcpoffload.OptionKeepCnt,
	toe.OptionRcvBuf:        tcpoffload.OptionRcvBuf,
	toe.OptionQuickAck:      tcpoffload.OptionQuickAck,
	toe.OptionUserTimeout:   tcpoffload.OptionUserTimeout,
	toe.OptionMaxSeg:        tcpoffload.OptionMaxSeg,
	toe.OptionLinger2:       tcpoffload.OptionLinger2,
	toe.OptionSndBuf:        tcpoffload.OptionSndBuf,
	toe.OptionCC:            tcpoffload.OptionCC,
	toe.OptionMaxPacingRate: tcpoffload.OptionMaxPacingRate,
	toe.OptionNotSentLowat:  tcpoffload.OptionNotSentLowat,
	toe.OptionPMTUDiscover:  tcpoffload.OptionPMTUDiscover,
	toe.OptionFastOpen:      tcpoffload.OptionFastOpen,
	toe.OptionTOS:           tcpoffload.OptionTOS,
	toe.OptionTTL:           tcpoffload.OptionTTL,
	toe.OptionNoSACK:        tcpoffload.OptionNoSACK,
	toe.OptionNoTimestamps:  tcpoffload.OptionNoTimestamp,
	toe.OptionECN:           tcpoffload.OptionECN,
	toe.OptionPause:         tcpoffload.OptionPause,
	toe.OptionFastOpenBare:  tcpoffload.OptionFastOpenBare,
	toe.OptionSynRetries:    tcpoffload.OptionSynRetries,
	toe.OptionRcvClamp:      tcpoffload.OptionRcvClamp,
}

// engineOption translates an option and its value.
func engineOption(o toe.Option, value int64) (opt tcpoffload.Option, v int64, ok bool) {
	if int(o) >= len(options) || options[o] == 0 {
		return 0, 0, false
	}
	if o == toe.OptionCC {
		if value < 0 || value > 255 {
			return 0, 0, false
		}
		if toe.CC(value) == toe.CCDefault {
			return tcpoffload.OptionCC, tcpoffload.DefaultCC, true
		}
		a, ok := algorithm(toe.CC(value))
		return tcpoffload.OptionCC, int64(a), ok
	}
	return options[o], value, true
}
