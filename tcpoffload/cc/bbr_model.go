package cc

// BBR's model of the path (draft-ietf-ccwg-bbr §5.5): bandwidth, round trip, what is safe in flight.

import "opentoe/tcpoffload/vtime"

// max returns BBR.max_bw.
func (b *Model) max() uint64 { return max(b.maxBw[0], b.maxBw[1]) }

// volume returns gain per cent of what passes at rate during a round trip: BDPMultiple of §5.6.4.2.
func (b *Model) volume(rate uint64, gain uint16) uint32 {
	if b.minRTT == noDelay {
		return 0
	}
	return uint32(min(min(octetsIn(rate, b.minRTT), maxWindow)*uint64(gain)/100, maxWindow))
}

// inflight returns gain per cent of BBR.bdp.
func (b *Model) inflight(gain uint16) uint32 { return b.volume(b.bw, gain) }

// targetInflight is TargetInflight of §5.3.3.8.3.
func (s Control) targetInflight() uint32 { return min(s.bbr.inflight(100), s.Cwnd) }

// withHeadroom is InflightWithHeadroom of §5.3.3.9.
func (b *Model) withHeadroom() uint32 {
	if b.inflightLong == unlimited {
		return unlimited
	}
	headroom := max(b.mss, uint32(uint64(b.inflightLong)*bbrHeadroomPct/100))
	return max(b.inflightLong-min(b.inflightLong, headroom), bbrMinPipe*b.mss)
}

// updateLatest is UpdateLatestDeliverySignals of §5.5.10.3. It reports whether the ACK begins a round
// trip counted from the last loss.
func (s Control) updateLatest(m *bbrSample) (lossRound bool) {
	b := s.bbr
	b.bwLatest = max(b.bwLatest, m.rate)
	b.inflightLatest = max(b.inflightLatest, m.volume)
	if m.volume > 0 && m.PriorDelivered >= b.lossRound {
		b.lossRound = b.delivered
		return true
	}
	return false
}

// updateCongestion is UpdateCongestionSignals: bandwidth (§5.5.5), and once for a round trip the
// bounds of the short-term model (§5.5.10.3).
func (s Control) updateCongestion(m *bbrSample, lossRound bool) {
	b := s.bbr
	if m.rate > 0 && (m.rate >= b.max() || !m.limited) {
		b.maxBw[1] = max(b.maxBw[1], m.rate)
	}
	if !lossRound {
		return
	}
	if b.lossInRound && !b.isProbing() && b.max() != 0 {
		if b.bwShort == noRate {
			b.bwShort = b.max()
		}
		if b.inflightShort == unlimited {
			b.inflightShort = s.Cwnd
		}
		b.bwShort = max(b.bwLatest, b.bwShort/betaDen*betaNum)
		b.inflightShort = max(b.inflightLatest, scale(b.inflightShort))
	}
	b.lossInRound = false
}

// scale returns BBR.Beta times v, 0.7 as CUBIC's.
func scale(v uint32) uint32 { return uint32(uint64(v) * betaNum / betaDen) }

func (b *Model) resetShortTerm() { b.bwShort, b.inflightShort = noRate, unlimited }

// advanceMaxBw is AdvanceMaxBwFilter of §5.5.6: a probing cycle is over. One without samples does not
// count.
func (b *Model) advanceMaxBw() {
	if b.maxBw[1] != 0 {
		b.maxBw = [2]uint64{b.maxBw[1], 0}
	}
}

// updateAggregation is UpdateACKAggregation of §5.5.9: how much more was acknowledged than the
// bandwidth lets expect.
func (s Control) updateAggregation(m *bbrSample) {
	b := s.bbr
	expected := octetsIn(b.bw, m.Now.Sub(b.aggregAt))
	if b.aggregated <= expected {
		b.aggregated, b.aggregAt, expected = 0, m.Now, 0
	}
	b.aggregated += uint64(m.Delivered)
	extra := uint32(min(b.aggregated-expected, uint64(s.Cwnd)))
	length := uint32(1)
	if s.flags&flagFull != 0 {
		length = bbrAggregationLen
	}
	b.extra.update(extra, b.round, length)
}

// checkFull is CheckFullBWReached of §5.3.1.2: three round trips without much growth.
func (s Control) checkFull(m *bbrSample) {
	b := s.bbr
	if s.flags&flagFullNow != 0 || s.flags&flagRound == 0 || m.limited || m.rate == 0 {
		return
	}
	if m.rate >= b.fullBw+b.fullBw/4 {
		s.resetFull()
		b.fullBw = m.rate
		return
	}
	if b.fullCount++; b.fullCount >= bbrFullRounds {
		s.flags |= flagFullNow | flagFull
	}
}

func (s Control) resetFull() {
	s.bbr.fullBw, s.bbr.fullCount = 0, 0
	s.flags &^= flagFullNow
}

// updateMinRTT is UpdateMinRTT of §5.3.4.3. It reports whether the delay seen of late is out of date.
func (s Control) updateMinRTT(m *bbrSample) (expired bool) {
	b := s.bbr
	expired = m.Now.Sub(b.delayAt) > bbrProbeRTTInterval
	if m.RTT > 0 && (m.RTT < b.delay || expired) {
		b.delay, b.delayAt = m.RTT, m.Now
	}
	if b.delay < b.minRTT || m.Now.Sub(b.minRTTAt) > bbrMinRTTLen {
		b.minRTT, b.minRTTAt = b.delay, b.delayAt
	}
	return expired
}

// raiseSlope is RaiseInflightLongtermSlope of §5.3.3.9.
func (s Control) raiseSlope() {
	b := s.bbr
	b.upPerInc = max(s.Cwnd>>b.upRounds, b.mss)
	b.upRounds = min(b.upRounds+1, 30)
}

// adaptLongTerm is AdaptLongTermModel of §5.3.3.9. It reports whether it changed the state.
func (s Control) adaptLongTerm(m *bbrSample) bool {
	b := s.bbr
	round := s.flags&flagRound != 0
	if b.acks == acksProbeStarting && round {
		b.acks = acksProbeFeedback
	}
	if b.acks == acksProbeStopping && round {
		s.flags &^= flagProbing
		b.acks = acksInit
		if b.inProbeBW() {
			if !m.limited {
				b.advanceMaxBw()
			}
			if s.flags&(flagCautious|flagTooHigh) == flagCautious {
				s.startRefill()
				return true
			}
		}
	}
	if b.inflightLong == unlimited || s.lostTooMuch(m.RateLost, m.TxInFlight) {
		return false
	}
	b.inflightLong = max(b.inflightLong, min(m.TxInFlight, maxWindow))
	if b.phase == bbrUp {
		s.probeUpward(m)
	}
	return false
}

// probeUpward is ProbeInflightLongtermUpward of §5.3.3.9.
func (s Control) probeUpward(m *bbrSample) {
	b := s.bbr
	if !s.isLimited() || s.Cwnd < b.inflightLong {
		return
	}
	b.upAcked += min(m.Delivered, maxWindow)
	if n := b.upAcked / b.upPerInc; n > 0 {
		b.upAcked -= n * b.upPerInc
		b.inflightLong = uint32(min(uint64(b.inflightLong)+uint64(n)*uint64(b.mss), maxWindow))
	}
	if s.flags&flagRound != 0 {
		s.raiseSlope()
	}
}

// tooHigh reports whether more than LossThresh of what was in flight is lost.
func tooHigh(lost, inflight uint32) bool {
	return uint64(lost)*100 > uint64(inflight)*bbrLossPct
}

// lostTooMuch is IsInflightTooHigh of §5.5.10.2.
func (s Control) lostTooMuch(lost, inflight uint32) bool {
	return tooHigh(lost, inflight) || lost > 0 && s.flags&flagSACK == 0
}

// bbrLost is HandleLostPacket of §5.5.10.2.
func (s Control) bbrLost(l *Lost) {
	b := s.bbr
	b.delivered, b.mss = l.TotalDelivered, l.MSS
	s.noteLoss()
	b.losses = min(b.losses+1, 255-1)
	if s.flags&flagProbing == 0 || !s.lostTooMuch(l.LostSince, l.TxInFlight) {
		return
	}
	// InflightAtLoss: at which volume, within what was sent together, did losses cross LossThresh?
	before := int64(l.TxInFlight) - int64(l.Octets)
	prefix := (before*bbrLossPct - 100*(int64(l.LostSince)-int64(l.Octets))) / (100 - bbrLossPct)
	s.probedTooHigh(uint32(min(max(before+prefix, 0), maxWindow)), l.AppLimited, l.Now)
}

// probedTooHigh is HandleInflightTooHigh.
func (s Control) probedTooHigh(inflight uint32, limited bool, now vtime.Time) {
	b := s.bbr
	s.flags = s.flags&^flagProbing | flagTooHigh
	if !limited {
		b.inflightLong = max(inflight, scale(s.targetInflight()))
	}
	if b.phase == bbrUp {
		b.undoPhase = bbrUp
		s.startDown(now)
	}
}

// noteLoss is NoteLoss.
func (s Control) noteLoss() {
	b := s.bbr
	if !b.lossInRound {
		b.lossRound = b.delivered
		s.saveOnLoss()
	}
	b.lossInRound = true
}

// bbrMarked reacts to congestion marks, of which the draft only says that they are to be taken as
// congestion (§3.7): like loss, as the start of a loss round. Startup ends.
func (s Control) bbrMarked() {
	b := s.bbr
	s.noteLoss()
	inflight := max(b.inflightLatest, s.targetInflight())
	switch {
	case b.phase == bbrStartup:
		s.flags |= flagFull | flagFullNow
		b.inflightLong = max(inflight, bbrMinPipe*b.mss)
	case s.flags&flagProbing != 0:
		s.probedTooHigh(scale(inflight), false, b.at)
	}
}

// saveOnLoss is SaveStateUponLoss of §5.5.11.1, at the first loss of an episode: a later one would save
// the consequences of that.
func (s Control) saveOnLoss() {
	b := s.bbr
	s.saveCwnd()
	if b.saved {
		return
	}
	b.saved = true
	s.flags |= flagUndo
	b.undoPhase = bbrNone
	b.undoBw, b.undoShort, b.undoLong = b.bwShort, b.inflightShort, b.inflightLong
}

// bbrUndo is HandleSpuriousLossDetection of §5.5.11.2.
func (s Control) bbrUndo() {
	b := s.bbr
	if s.flags&flagUndo == 0 {
		return
	}
	s.flags &^= flagUndo
	s.bbrRestoreCwnd()
	b.lossInRound = false
	s.resetFull()
	b.bwShort = max(b.bwShort, b.undoBw)
	b.inflightShort = max(b.inflightShort, b.undoShort)
	b.inflightLong = max(b.inflightLong, b.undoLong)
	switch {
	case b.undoPhase == bbrStartup && b.phase != bbrStartup:
		s.flags &^= flagFull
		if b.phase != bbrProbeRTT {
			b.phase = bbrStartup
		}
	case b.undoPhase == bbrUp && b.phase != bbrUp && b.phase != bbrProbeRTT:
		s.startRefill()
	}
	b.undoPhase = bbrNone
}

// maxFilter is a windowed maximum after Kathleen Nichols: the best three samples, each later than the
// one before.
type maxFilter [3]struct{ value, at uint32 }

func (f *maxFilter) max() uint32 { return f[0].value }

// update takes the sample v at time at, forgetting what is older than length.
func (f *maxFilter) update(v, at, length uint32) {
	s := f[0]
	s.value, s.at = v, at
	if v >= f[0].value || at-f[2].at > length {
		f[0], f[1], f[2] = s, s, s
		return
	}
	if v >= f[1].value {
		f[1], f[2] = s, s
	} else if v >= f[2].value {
		f[2] = s
	}
	switch {
	case at-f[0].at > length:
		f[0], f[1], f[2] = f[1], f[2], s
		if at-f[0].at > length {
			f[0], f[1] = f[1], f[2]
		}
	case f[1].at == f[0].at && at-f[0].at > length/4:
		f[1], f[2] = s, s
	case f[2].at == f[1].at && at-f[0].at > length/2:
		f[2] = s
	}
}
