package cc

// BBR version 3 (draft-ietf-ccwg-bbr, of August 2026): the state machine (§5.3) and what follows
// from it for the rate and the window (§5.6). The model of the path is in bbr_model.go. Names are
// the draft's; section numbers too.

import "opentoe/tcpoffload/vtime"

// bbrPhase is BBR.state.
type bbrPhase uint8

const (
	bbrNone bbrPhase = iota // of undoPhase: nothing to return to
	bbrStartup
	bbrDrain
	bbrDown
	bbrCruise
	bbrRefill
	bbrUp
	bbrProbeRTT
)

// bbrGains are BBR.pacing_gain and BBR.cwnd_gain in each state, per cent (§5.6.1).
var bbrGains = [...]struct{ pacing, cwnd uint16 }{
	bbrStartup:  {277, 200},
	bbrDrain:    {50, 200},
	bbrDown:     {90, 200},
	bbrCruise:   {100, 200},
	bbrRefill:   {100, 200},
	bbrUp:       {125, 225},
	bbrProbeRTT: {100, 50},
}

// ackPhase is BBR.ack_phase: what ACKs tell about a probe for bandwidth.
type ackPhase uint8

const (
	acksInit ackPhase = iota
	acksRefilling
	acksProbeStarting
	acksProbeFeedback
	acksProbeStopping
)

// Constants of §2.
const (
	bbrMinPipe          = 4 // MinPipeCwnd, segments
	bbrPacingPct        = 99
	bbrLossPct          = 2  // LossThresh
	bbrHeadroomPct      = 15 // Headroom
	bbrStartupLosses    = 6  // BBRStartupFullLossCnt
	bbrFullRounds       = 3
	bbrDrainRounds      = 3
	bbrAggregationLen   = 10 // ExtraAckedFilterLen, round trips
	bbrRenoRounds       = 63
	bbrMinRTTLen        = 10 * vtime.Second
	bbrProbeRTTInterval = 5 * vtime.Second
	bbrProbeRTTDuration = 200 * vtime.Millisecond
	bbrProbeWait        = 2 * vtime.Second // BBR.bw_probe_wait, and up to a second more
)

const (
	noRate  = 1<<64 - 1
	noDelay = vtime.Duration(1<<63 - 1)
)

// Model holds BBR's variables of §2: what it knows of the path. Volumes are octets, rates octets per second.
type Model struct {
	at         vtime.Time // of the last ACK
	delivered  uint64     // C.delivered at that time
	bw         uint64     // BBR.bw
	rate       uint64     // C.pacing_rate, before the program's bound
	minRTT     vtime.Duration
	maxBw      [2]uint64 // BBR.max_bw_filter: of the probing cycle before, and of this one
	bwShort    uint64    // BBR.bw_shortterm, noRate: infinite
	bwLatest   uint64
	fullBw     uint64
	lossRound  uint64 // BBR.loss_round_delivered
	limitedTo  uint64 // what was sent before C.delivered passed it is limited by ProbeRTT
	aggregated uint64 // BBR.extra_acked_delivered
	aggregAt   vtime.Time
	minRTTAt   vtime.Time
	delay      vtime.Duration // BBR.probe_rtt_min_delay
	delayAt    vtime.Time
	doneAt     vtime.Time // BBR.probe_rtt_done_stamp, 0: none
	cycleAt    vtime.Time
	probeWait  vtime.Duration
	undoBw     uint64 // BBR.undo_bw_shortterm

	inflightShort  uint32 // unlimited: infinite
	inflightLong   uint32
	inflightLatest uint32
	undoShort      uint32
	undoLong       uint32
	priorCwnd      uint32
	upAcked        uint32 // BBR.bw_probe_up_acked
	upPerInc       uint32 // BBR.probe_up_acked_per_inc
	mss            uint32
	round          uint32
	drainRound     uint32
	rng            uint32
	extra          maxFilter // BBR.extra_acked_filter

	phase       bbrPhase
	undoPhase   bbrPhase
	acks        ackPhase
	fullCount   uint8
	upRounds    uint8
	sinceUp     uint8 // BBR.rounds_since_probe_up
	losses      uint8 // ranges found lost in this round trip
	lossInRound bool
	saved       bool // the undo state is of the present episode of loss
	rttRound    bool // BBR.probe_rtt_round_done
}

// bbrInit is OnInit of §5.2.1. rng is not zero.
func (s Control) bbrInit(rng uint32) {
	*s.bbr = Model{
		rng:     rng,
		minRTT:  noDelay,
		delay:   noDelay,
		bwShort: noRate, inflightShort: unlimited, inflightLong: unlimited,
		upPerInc: unlimited,
		phase:    bbrStartup,
	}
	s.roundEnd = 0
	s.initRate(vtime.Millisecond)
}

// initRate is InitPacingRate of §5.6.2.
func (s Control) initRate(srtt vtime.Duration) {
	s.bbr.rate = per(s.Cwnd, srtt) * uint64(bbrGains[bbrStartup].pacing) / 100
	s.setRate(s.bbr.rate)
}

// bbrEstablished sets the clocks, and the rate if the round trip is known.
func (s Control) bbrEstablished(now vtime.Time, srtt vtime.Duration) {
	b := s.bbr
	b.minRTTAt, b.delayAt, b.aggregAt = now, now, now
	if srtt > 0 {
		b.minRTT, b.delay = srtt, srtt
		s.initRate(srtt)
	}
}

// bbrAck is UpdateOnACK of §5.2.3.
func (s Control) bbrAck(a *Sample) {
	b := s.bbr
	m := bbrSample{
		Sample: a, rate: a.Rate(), volume: a.RateDelivered,
		limited: a.AppLimited || a.PriorDelivered <= b.limitedTo,
	}
	if a.Interval <= 0 {
		m.volume = 0
	} else if b.minRTT != noDelay && a.Interval < b.minRTT {
		m.rate = 0 // not reliable
	}
	b.saved = b.saved && a.Recovery
	b.at, b.delivered, b.mss = a.Now, a.TotalDelivered, a.MSS
	s.bbrRound()
	lossRound := s.updateLatest(&m)
	s.updateCongestion(&m, lossRound)
	s.updateAggregation(&m)
	s.checkFull(&m)
	s.checkStartupDone(&m, lossRound)
	s.checkDrainDone(&m)
	s.updateCycle(&m)
	expired := s.updateMinRTT(&m)
	s.checkProbeRTT(&m, expired)
	if lossRound { // AdvanceLatestDeliverySignals
		b.bwLatest, b.inflightLatest = m.rate, m.volume
		b.losses = 0
	}
	b.bw = min(b.max(), b.bwShort)
	s.setBBRRate(bbrGains[b.phase].pacing)
	s.setCwnd(&m)
}

// bbrSample is a Sample with what BBR derives from it.
type bbrSample struct {
	*Sample
	rate    uint64 // RS.delivery_rate, 0: none
	volume  uint32 // RS.delivered
	limited bool   // RS.is_app_limited
}

// bbrRound is UpdateRound of §5.5.1.
func (s Control) bbrRound() {
	b := s.bbr
	if s.flags&flagRound != 0 {
		s.startRound()
		b.round++
		b.sinceUp = min(b.sinceUp+1, 255-1)
	}
}

func (s Control) startRound() { s.roundEnd = s.bbr.delivered }

func (b *Model) inProbeBW() bool { return b.phase >= bbrDown && b.phase <= bbrUp }

func (b *Model) isProbing() bool {
	return b.phase == bbrStartup || b.phase == bbrRefill || b.phase == bbrUp
}

// checkStartupDone leaves Startup when the pipe is full, or by CheckStartupHighLoss when a round trip
// of fast recovery lost too much in too many places (§5.3.1.3).
func (s Control) checkStartupDone(m *bbrSample, lossRound bool) {
	b := s.bbr
	if b.phase != bbrStartup {
		return
	}
	if s.flags&flagFull == 0 && m.Recovery && !m.Loss && b.losses > 0 {
		many := lossRound && b.losses >= bbrStartupLosses && tooHigh(m.RateLost, m.TxInFlight)
		if many || s.flags&flagSACK == 0 {
			b.undoPhase = bbrStartup
			s.flags |= flagFull | flagFullNow
			b.inflightLong = max(b.inflight(100), b.inflightLatest)
		}
	}
	if s.flags&flagFull != 0 {
		b.phase = bbrDrain // EnterDrain, §5.3.2
		b.drainRound = b.round
	}
}

// checkDrainDone is §5.3.2.
func (s Control) checkDrainDone(m *bbrSample) {
	b := s.bbr
	if b.phase == bbrDrain && (m.InFlight <= s.budget(b.inflight(100)) || b.round-b.drainRound > bbrDrainRounds) {
		s.startDown(m.Now)
	}
}

// The states of ProbeBW, §5.3.3.9.

func (s Control) startDown(now vtime.Time) {
	b := s.bbr
	b.lossInRound, b.bwLatest, b.inflightLatest = false, 0, 0 // ResetCongestionSignals
	b.upPerInc = unlimited
	b.sinceUp = uint8(b.random() & 1)
	b.probeWait = bbrProbeWait + vtime.Duration(b.random()%uint32(vtime.Second))
	b.cycleAt = now
	b.acks = acksProbeStopping
	s.startRound()
	b.phase = bbrDown
}

func (s Control) startRefill() {
	b := s.bbr
	b.resetShortTerm()
	b.upRounds, b.upAcked = 0, 0
	s.flags &^= flagCautious
	b.acks = acksRefilling
	s.startRound()
	b.phase = bbrRefill
}

func (s Control) startUp(m *bbrSample) {
	b := s.bbr
	b.acks = acksProbeStarting
	s.startRound()
	s.resetFull()
	b.fullBw = m.rate
	b.phase = bbrUp
	s.raiseSlope()
}

// updateCycle is UpdateProbeBWCyclePhase.
func (s Control) updateCycle(m *bbrSample) {
	b := s.bbr
	if s.flags&flagFull == 0 || s.adaptLongTerm(m) {
		return
	}
	switch b.phase {
	case bbrDown, bbrCruise:
		switch {
		case s.timeToProbe(m.Now):
			s.startRefill()
		case b.phase == bbrDown && m.InFlight <= b.withHeadroom() && m.InFlight <= s.budget(b.volume(b.max(), 100)):
			b.phase = bbrCruise
		}
	case bbrRefill:
		if s.flags&flagRound != 0 {
			s.flags |= flagProbing
			s.startUp(m)
		}
	case bbrUp:
		if s.timeToGoDown(m) {
			s.flags &^= flagTooHigh
			s.startDown(m.Now)
		}
	}
}

// timeToProbe is IsTimeToProbeBW of §5.3.3.8.3: by the clock, or after as many round trips as Reno
// would take to recover its window.
func (s Control) timeToProbe(now vtime.Time) bool {
	b := s.bbr
	return now.Sub(b.cycleAt) > b.probeWait ||
		uint32(b.sinceUp) >= min(s.targetInflight()/b.mss, bbrRenoRounds)
}

// timeToGoDown is IsTimeToGoDown.
func (s Control) timeToGoDown(m *bbrSample) bool {
	b := s.bbr
	if s.flags&flagTooHigh != 0 && m.InFlight >= b.inflightLong {
		s.flags |= flagCautious
		return true
	}
	if s.isLimited() && s.Cwnd >= b.inflightLong {
		s.resetFull() // the bandwidth is limited by inflight_longterm
		b.fullBw = m.rate
		return false
	}
	return s.flags&flagFullNow != 0
}

// checkProbeRTT is §5.3.4.3.
func (s Control) checkProbeRTT(m *bbrSample, expired bool) {
	b := s.bbr
	if b.phase != bbrProbeRTT && expired && s.flags&flagIdle == 0 {
		s.saveCwnd()
		b.phase = bbrProbeRTT
		b.doneAt = 0
		b.acks = acksProbeStopping
		s.startRound()
	}
	if b.phase == bbrProbeRTT {
		s.probeRTT(m)
	}
	if m.volume > 0 {
		s.flags &^= flagIdle
	}
}

// probeRTT is HandleProbeRTT.
func (s Control) probeRTT(m *bbrSample) {
	b := s.bbr
	b.limitedTo = b.delivered + uint64(m.InFlight) // MarkConnectionAppLimited
	switch {
	case b.doneAt == 0:
		if m.InFlight <= b.probeRTTCwnd() {
			b.doneAt = m.Now.Add(bbrProbeRTTDuration)
			b.rttRound = false
			s.startRound()
		}
	case s.flags&flagRound != 0:
		b.rttRound = true
		fallthrough
	default:
		if b.rttRound {
			s.checkProbeRTTDone(m.Now)
		}
	}
}

// checkProbeRTTDone leaves ProbeRTT when its time is over (§5.3.4.4).
func (s Control) checkProbeRTTDone(now vtime.Time) {
	b := s.bbr
	if b.doneAt == 0 || now <= b.doneAt {
		return
	}
	b.delayAt = now // schedules the next one
	s.bbrRestoreCwnd()
	b.resetShortTerm()
	if s.flags&flagFull != 0 {
		s.startDown(now)
		b.phase = bbrCruise
	} else {
		b.phase = bbrStartup
	}
}

// bbrRestart is HandleRestartFromIdle of §5.4. Nothing is in flight, and the program had nothing to
// send until now.
func (s Control) bbrRestart(now vtime.Time) {
	b := s.bbr
	s.flags |= flagIdle
	b.aggregAt, b.aggregated = now, 0
	switch {
	case b.inProbeBW():
		s.setBBRRate(100)
	case b.phase == bbrProbeRTT:
		s.checkProbeRTTDone(now)
	}
}

// setBBRRate is SetPacingRateWithGain of §5.6.2, gain in per cent. Without SACK Startup may end by loss
// before there is any sample of the bandwidth: then the rate stays.
func (s Control) setBBRRate(gain uint16) {
	b := s.bbr
	if b.bw == 0 {
		return
	}
	rate := b.bw * uint64(gain) * bbrPacingPct / (100 * 100)
	if s.flags&flagFull != 0 || rate > b.rate {
		b.rate = rate
		s.setRate(rate)
	}
}

// budget is QuantizationBudget of §5.6.4.2: cap, but enough to keep batching senders and receivers
// busy.
func (s Control) budget(volume uint32) uint32 {
	b := s.bbr
	volume = max(volume, 3*s.SendQuantum(b.mss), bbrMinPipe*b.mss)
	if b.phase == bbrUp {
		volume += 2 * b.mss
	}
	return min(volume, maxWindow)
}

// setCwnd is SetCwnd of §5.6.4.6.
func (s Control) setCwnd(m *bbrSample) {
	b := s.bbr
	inflight := s.initial
	if b.minRTT != noDelay {
		inflight = b.inflight(bbrGains[b.phase].cwnd)
	}
	inflight = s.budget(min(inflight+b.extra.max(), maxWindow))
	acked := min(m.Delivered, maxWindow)
	switch {
	case s.flags&flagFull != 0:
		s.Cwnd = min(s.Cwnd+acked, inflight)
	case s.Cwnd < inflight || b.delivered < uint64(s.initial):
		s.Cwnd = min(s.Cwnd+acked, maxWindow)
	}
	floor := bbrMinPipe * b.mss
	s.Cwnd = max(s.Cwnd, floor)
	if b.phase == bbrProbeRTT {
		s.Cwnd = min(s.Cwnd, b.probeRTTCwnd())
	}
	// BoundCwndForModel, §5.6.4.7.
	bound := uint32(unlimited)
	switch {
	case b.phase == bbrCruise || b.phase == bbrProbeRTT:
		bound = b.withHeadroom()
	case b.inProbeBW():
		bound = b.inflightLong
	}
	s.Cwnd = min(s.Cwnd, max(min(bound, b.inflightShort), floor))
}

func (b *Model) probeRTTCwnd() uint32 {
	return max(b.inflight(bbrGains[bbrProbeRTT].cwnd), bbrMinPipe*b.mss)
}

// saveCwnd remembers the last window that neither recovery nor ProbeRTT had lowered (§5.6.4.4).
func (s Control) saveCwnd() {
	b := s.bbr
	if s.episode == episodeNone && b.phase != bbrProbeRTT {
		b.priorCwnd = s.Cwnd
	} else {
		b.priorCwnd = max(b.priorCwnd, s.Cwnd)
	}
}

func (s Control) bbrRestoreCwnd() { s.Cwnd = max(s.Cwnd, s.bbr.priorCwnd) }

// random returns 32 bits of the connection's generator (xorshift).
func (b *Model) random() uint32 {
	b.rng ^= b.rng << 13
	b.rng ^= b.rng >> 17
	b.rng ^= b.rng << 5
	return b.rng
}

// Probe is what BBR knows and does, as Linux' TCP_CC_INFO reports it.
type Probe struct {
	Bandwidth  uint64         // octets per second
	MinRTT     vtime.Duration // 0: unknown
	PacingGain uint32         // in 1/256
	CwndGain   uint32         // in 1/256
}

// Probe returns BBR's model, and false if another algorithm is in use.
func (s Control) Probe() (p Probe, ok bool) {
	b := s.bbr
	if s.algo != BBR {
		return p, false
	}
	g := bbrGains[b.phase]
	p = Probe{Bandwidth: b.bw, MinRTT: b.minRTT, PacingGain: uint32(g.pacing) * 256 / 100, CwndGain: uint32(g.cwnd) * 256 / 100}
	if b.minRTT == noDelay {
		p.MinRTT = 0
	}
	return p, true
}
