package softdev

import (
	"fmt"
	"math"

	"opentoe/hwregs"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// Registers are views: each read asks the engines and each write changes them, between two poll
// iterations. The bank calls the functions bound here on the goroutine of whoever uses it.

// timers are the durations among the engine's settings, by register.
func timers(t *tcpoffload.Tunables) map[string]*vtime.Duration {
	return map[string]*vtime.Duration{
		"TP_MSL":            &t.MSL,
		"TP_RXT_MIN":        &t.RTOMin,
		"TP_RXT_MAX":        &t.RTOMax,
		"TP_PERS_MIN":       &t.PersMin,
		"TP_PERS_MAX":       &t.PersMax,
		"TP_KEEP_IDLE":      &t.KeepIdle,
		"TP_KEEP_INTVL":     &t.KeepIntvl,
		"TP_INIT_SRTT":      &t.RTOInit,
		"TP_DACK_TIMER":     &t.DelAck,
		"TP_FINWAIT2_TIMER": &t.FinWait2,
		"TPX_UTO_MIN":       &t.UTOMin,
		"TPX_UTO_MAX":       &t.UTOMax,
	}
}

// counts are the small numbers among the engine's settings.
func counts(t *tcpoffload.Tunables) map[string]*uint8 {
	return map[string]*uint8{
		"TP_DACK_CONFIG.MSSThreshold": &t.DelAckSegs,
		"TP_PARA_REG0.InitCwnd":       &t.InitCwnd,
		"TP_SHIFT_CNT.SynShiftMax":    &t.SynRetries,
		"TP_SHIFT_CNT.RxtShiftMaxR2":  &t.Retries2,
		"TP_SHIFT_CNT.KeepaliveMax":   &t.KeepCnt,
		"TPX_SYNACK_RETRIES":          &t.SynAckRetries,
		"TPX_CHALLENGE_ACK_LIMIT":     &t.ChallengeAcks,
		"TPX_BURST_SEGS":              &t.BurstSegs,
	}
}

// sizes are the sizes in octets among the engine's settings.
func sizes(t *tcpoffload.Tunables) map[string]*uint32 {
	return map[string]*uint32{
		"TP_PARA_REG1.InitRwnd": &t.DefaultRcvBuf,
		"TPX_RCVBUF_MAX":        &t.MaxRcvBuf,
		"TPX_SNDBUF":            &t.DefaultSndBuf,
		"TPX_SNDBUF_MAX":        &t.MaxSndBuf,
	}
}

// modes are the choices among the engine's settings.
func modes(t *tcpoffload.Tunables) map[string]*uint8 {
	return map[string]*uint8{
		"TPX_ECN_MODE":        (*uint8)(&t.ECN),
		"TPX_SYN_COOKIES":     (*uint8)(&t.SynCookies),
		"TPX_FAST_OPEN.Sides": (*uint8)(&t.FastOpen),
		"TPX_MTU_PROBING":     (*uint8)(&t.MTUProbing),
	}
}

// switches are what is on or off among the engine's settings.
func switches(t *tcpoffload.Tunables) map[string]*bool {
	return map[string]*bool{
		"TP_TCP_OPTIONS.SACKMode":        &t.SACK,
		"TP_TCP_OPTIONS.WindowScaleMode": &t.WindowScale,
		"TP_TCP_OPTIONS.TimestampsMode":  &t.Timestamps,
		"TPX_MODES.Pacing":               &t.Pacing,
		"TPX_MODES.IdleRestart":          &t.IdleRestart,
		"TPX_MODES.UserTimeout":          &t.UTO,
		"TPX_MODES.AbortOnOverflow":      &t.AbortOnOverflow,
	}
}

// mib are the engine's counters that have registers.
func mib(m *tcpoffload.MIB) map[string]uint64 {
	return map[string]uint64{
		"TP_MIB_TCP_ACTIVE_OPENS":  m.ActiveOpens,
		"TP_MIB_TCP_PASSIVE_OPENS": m.PassiveOpens,
		"TP_MIB_TCP_ATTEMPT_FAILS": m.AttemptFails,
		"TP_MIB_TCP_ESTAB_RESETS":  m.EstabResets,
		"TP_MIB_TCP_CURR_ESTAB":    m.CurrEstab,
		"TP_MIB_TCP_IN_SEG":        m.InSegs,
		"TP_MIB_TCP_OUT_SEG":       m.OutSegs,
		"TP_MIB_TCP_RXT_SEG":       m.RetransSegs,
		"TP_MIB_TCP_IN_ERR":        m.InErrs,
		"TP_MIB_TCP_OUT_RST":       m.OutRsts,
	}
}

// BindRegisters shows the device in bank: the engine's settings (TP, TPX), its counters (TP_MIB),
// its tables (LE) and its pulse. Registers of ports and clients are bound by those who know them.
func (d *Device) BindRegisters(bank *hwregs.Bank) error {
	bindings := make(map[string]hwregs.Binding)
	var t tcpoffload.Tunables
	for name := range timers(&t) {
		bindings[name] = setting(d, name, timers, math.MaxInt64)
	}
	for name := range counts(&t) {
		bindings[name] = setting(d, name, counts, math.MaxUint8)
	}
	for name := range sizes(&t) {
		bindings[name] = setting(d, name, sizes, math.MaxUint32)
	}
	for name := range modes(&t) {
		bindings[name] = setting(d, name, modes, math.MaxUint8)
	}
	for name := range switches(&t) {
		bindings[name] = d.toggle(name)
	}
	bindings["TPX_MIN_PMTU"] = setting(d, "mtu", func(t *tcpoffload.Tunables) map[string]*uint16 {
		return map[string]*uint16{"mtu": &t.MinPMTU}
	}, math.MaxUint16)
	bindings["TP_PARA_REG3.CngCtrlMode"] = setting(d, "cc", func(t *tcpoffload.Tunables) map[string]*cc.Algorithm {
		return map[string]*cc.Algorithm{"cc": &t.CC}
	}, math.MaxUint8)
	for name := range mib(&tcpoffload.MIB{}) {
		bindings[name] = hwregs.Binding{Get: d.sum(func(w *worker) uint64 { return mib(w.eng.MIB())[name] })}
	}
	bindings["PL_HEARTBEAT"] = hwregs.Binding{Get: d.sum(func(w *worker) uint64 { return w.count.Iterations })}
	bindings["LE_DB_ACTIVE_INUSE"] = hwregs.Binding{Get: d.sum(func(w *worker) uint64 { return uint64(w.eng.Conns()) })}
	bindings["LE_DB_ACTIVE_SIZE"] = hwregs.Binding{Get: func() uint64 { return uint64(d.Info().MaxConns) }}
	bindings["LE_DB_SERVER_SIZE"] = hwregs.Binding{Get: func() uint64 { return uint64(d.cfg.MaxListeners) }}
	bindings["LE_DB_SERVER_INUSE"] = hwregs.Binding{Get: func() (n uint64) {
		_ = d.inspect(0, func(w *worker) { n = uint64(len(w.listeners)) }) // the same on every worker
		return n
	}}
	bindings["TP_TIME"] = hwregs.Binding{Get: func() uint64 { return uint64(d.workers[0].clock()) }}
	for name, b := range bindings {
		if err := bank.Bind(name, b); err != nil {
			return fmt.Errorf("softdev: %s: %w", d.cfg.Name, err)
		}
	}
	return nil
}

// setting binds one of the engine's settings: fields finds it by name, limit is the greatest value
// that its type holds. What values make sense the engine knows.
func setting[T ~int64 | ~uint8 | ~uint16 | ~uint32](d *Device, name string, fields func(*tcpoffload.Tunables) map[string]*T, limit uint64) hwregs.Binding {
	return hwregs.Binding{
		Get: func() uint64 {
			t, _ := d.Tunables() // zero from a worker that is swamped
			return uint64(*fields(&t)[name])
		},
		Set: func(v uint64) error {
			if v > limit {
				return fmt.Errorf("%d: at most %d: %w", v, limit, toe.ErrInvalid)
			}
			return d.Tune(func(t *tcpoffload.Tunables) { *fields(t)[name] = T(v) })
		},
	}
}

// toggle binds one of the switches.
func (d *Device) toggle(name string) hwregs.Binding {
	return hwregs.Binding{
		Get: func() uint64 {
			t, _ := d.Tunables() // zero from a worker that is swamped
			if *switches(&t)[name] {
				return 1
			}
			return 0
		},
		Set: func(v uint64) error {
			if v > 1 {
				return fmt.Errorf("%d: 0 or 1: %w", v, toe.ErrInvalid)
			}
			return d.Tune(func(t *tcpoffload.Tunables) { *switches(t)[name] = v != 0 })
		},
	}
}

// sum returns a getter that adds up what f finds on every worker.
func (d *Device) sum(f func(w *worker) uint64) func() uint64 {
	return func() (total uint64) {
		for i := range d.workers {
			_ = d.inspect(i, func(w *worker) { total += f(w) })
		}
		return total
	}
}

// Tunables returns the settings that the engines use. Not for workers.
func (d *Device) Tunables() (t tcpoffload.Tunables, err error) {
	err = d.inspect(0, func(w *worker) { t = w.eng.Tunables() })
	return t, err
}

// Tune changes the settings of every engine. When the result is out of range the error says so and
// nothing has changed. Not for workers.
func (d *Device) Tune(change func(t *tcpoffload.Tunables)) error {
	d.tuning.Lock()
	defer d.tuning.Unlock()
	t, err := d.Tunables()
	if err != nil {
		return err
	}
	change(&t)
	for i := range d.workers {
		var refused error // by the first worker or by none: all have the same rules
		if err := d.inspect(i, func(w *worker) { refused = w.eng.SetTunables(t) }); err != nil {
			return err
		}
		if refused != nil {
			return refused
		}
	}
	return nil
}
