package cc

import "opentoe/tcpoffload/vtime"

// maxWindow bounds Cwnd: the largest window that TCP can use (RFC 7323 §2.3).
const maxWindow = 1 << 30

// unlimited stands for a window that nothing bounds yet.
const unlimited = 1<<32 - 1

// State is the congestion state of one connection, whatever the algorithm. Its first two cache lines serve
// the algorithms that grow a window; what rare events need comes after them.
type State struct {
	Cwnd     uint32 // congestion window, octets, at least one MSS
	Ssthresh uint32 // slow-start threshold, octets
	acked    uint32 // octets acknowledged in congestion avoidance and not yet turned into growth
	algo     Algorithm
	episode  episode
	flags    flags
	roundEnd uint64 // Sample.TotalDelivered when the present round trip began
	rate     uint64 // pacing rate, octets per second; 0: not paced
	maxRate  uint64 // the program's bound on rate; 0: none
	valid    validation

	cubic   cubicState
	hystart hystartState
	initial uint32 // initial window, octets
	used    uint32 // most octets in flight in this round trip
	lost    uint32 // octets found lost since the last recovery

	dctcp dctcpState
	undo  undoState
}

// Control is the congestion control of one connection: its State, and what the algorithm knows beside that.
// Only BBR has such a Model; it is large and few connections need one, so its place is the owner's
// business. With another algorithm the Model is not looked at. A Control is made for a call, not kept.
type Control struct {
	*State
	bbr *Model
}

// Of returns the Control of s with m.
func Of(s *State, m *Model) Control { return Control{s, m} }

// flags are facts about a connection.
type flags uint16

const (
	flagPaced      flags = 1 << iota // an algorithm that grows a window is to be paced
	flagSACK                         // more than one loss in a round trip can be found
	flagRound                        // the present ACK begins a round trip
	flagLimited                      // the window was used up in this round trip
	flagWasLimited                   // or in the last one
	flagMarked                       // the window was lowered for a mark, less than a round trip ago
	flagInvalid                      // the window is not validated (RFC 7661 §4.3)
	flagReduced                      // the loss began while the window was not validated
	flagCSS                          // conservative slow start (RFC 9406)
	flagUndo                         // undo is valid
	flagProbing                      // BBR: samples come from probing for bandwidth
	flagTooHigh                      // BBR: the last probe went too high
	flagCautious                     // BBR: the last probe stopped early, at the level of the one before
	flagFullNow                      // BBR: the pipe seems full since the probe began
	flagFull                         // BBR: the pipe was full at least once
	flagIdle                         // BBR: sending began again after idle
)

// episode says what the connection recovers from.
type episode uint8

const (
	episodeNone episode = iota
	episodeFast         // fast recovery
	episodeRTO          // a timeout
)

// Algorithm returns the algorithm in use.
func (s *State) Algorithm() Algorithm { return s.algo }

// SlowStart reports whether the window is below the slow-start threshold.
func (s *State) SlowStart() bool { return s.Cwnd < s.Ssthresh }

// OwnsRecovery reports whether the algorithm sets Cwnd during recovery by itself. Otherwise the
// engine does, by proportional rate reduction towards Ssthresh.
func (s *State) OwnsRecovery() bool { return s.algo == BBR }

// Prefer names the algorithm of a connection that is not initialised yet.
func (s *State) Prefer(a Algorithm) { s.algo = a }

// Init starts a connection with the initial window of segs segments of mss octets (RFC 6928). Where
// an algorithm draws lots, seed decides. What SetPaced and SetMaxRate said before holds on.
func (s Control) Init(a Algorithm, segs, mss uint32, seed uint64) {
	*s.State = State{
		algo: a, Cwnd: segs * mss, Ssthresh: maxWindow, initial: segs * mss,
		flags: s.flags & flagPaced, maxRate: s.maxRate,
	}
	s.begin(seed)
}

// begin prepares the algorithm's own state.
func (s Control) begin(seed uint64) {
	switch s.algo {
	case DCTCP:
		s.dctcp = dctcpState{alpha: dctcpOne}
	case BBR:
		s.bbrInit(uint32(seed>>32) ^ uint32(seed) | 1)
	}
}

// Established tells that the handshake is over. srtt is 0 if it gave no measurement; sack tells that
// both ends agreed on SACK.
func (s Control) Established(now vtime.Time, srtt vtime.Duration, sack bool) {
	if sack {
		s.flags |= flagSACK
	}
	if s.algo == BBR {
		s.bbrEstablished(now, srtt)
	} else {
		s.paceWindow(srtt)
	}
}

// Switch changes the algorithm of a live connection. The window and its threshold stay; what the new
// algorithm knows of the path it has yet to learn. seed is as in Init.
func (s Control) Switch(a Algorithm, now vtime.Time, srtt vtime.Duration, seed uint64) {
	if a == s.algo {
		return
	}
	full := s.algo == BBR && s.flags&flagFull != 0
	s.algo = a
	s.flags &= flagPaced | flagSACK
	s.acked = 0
	s.cubic, s.hystart, s.undo = cubicState{}, hystartState{}, undoState{}
	s.lost = 0
	s.rate = 0
	if full || s.episode != episodeNone {
		s.Ssthresh = min(s.Ssthresh, s.Cwnd) // BBR keeps no threshold, but the pipe is known to be full
	}
	s.begin(seed)
	s.Established(now, srtt, s.flags&flagSACK != 0)
}

// OnAck takes in an ACK that delivered something.
func (s Control) OnAck(a *Sample) {
	s.countRound(a)
	if !a.Recovery && s.episode != episodeNone {
		if s.algo == BBR {
			s.bbrRestoreCwnd()
		}
		s.episode = episodeNone
	}
	if s.algo == BBR {
		s.bbrAck(a)
		return
	}
	if s.flags&flagRound != 0 && !a.Recovery {
		s.validate(a)
	}
	if s.algo == DCTCP {
		s.dctcpObserve(a)
	}
	if s.flags&flagRound != 0 {
		s.roundEnd = a.TotalDelivered
	}
	if !a.Recovery || a.Loss {
		s.grow(a)
	}
	if s.flags&flagPaced != 0 || s.rate != s.maxRate {
		s.paceWindow(a.SRTT)
	}
}

// countRound finds the ACKs that begin a round trip: those for something sent after the last one began
// (draft-ietf-ccwg-bbr §5.5.1).
func (s *State) countRound(a *Sample) {
	s.flags &^= flagRound
	if a.Interval > 0 && a.PriorDelivered >= s.roundEnd {
		limited := s.flags & flagLimited
		s.flags = s.flags&^(flagLimited|flagWasLimited|flagMarked) | flagRound
		if limited != 0 {
			s.flags |= flagWasLimited
		}
		s.used = 0
	}
	s.used = max(s.used, a.Prior)
	if a.CwndLimited {
		s.flags |= flagLimited
	}
}

// isLimited is C.is_cwnd_limited: the window was used up in the last round trip.
func (s *State) isLimited() bool { return s.flags&(flagLimited|flagWasLimited) != 0 }

// grow enlarges a window that is validated: slow start, then what the algorithm does beyond it.
func (s *State) grow(a *Sample) {
	acked := a.Acked
	if s.flags&(flagInvalid|flagMarked) != 0 || acked == 0 {
		s.cubic.pass(a.Now)
		return
	}
	if s.SlowStart() {
		if s.Cwnd/2 >= s.used && !s.isLimited() {
			return // as Linux: up to twice what was in flight, no further
		}
		if acked = s.slowStart(a, acked); acked == 0 {
			return
		}
	}
	switch s.algo {
	case Cubic:
		s.cubicAck(a, acked)
	default:
		s.renoAck(acked, a.MSS)
	}
}

// OnLost takes in octets found lost, at the moment when they are found.
func (s Control) OnLost(l *Lost) {
	if s.algo == BBR {
		s.bbrLost(l)
		return
	}
	s.lost += min(l.Octets, maxWindow-s.lost)
}

// OnLoss is the reaction to loss at the start of a fast recovery: it lowers Ssthresh. Cwnd is lowered
// by the engine as the recovery proceeds (RFC 9937), and set by OnRecovered; see OwnsRecovery. flight
// is FlightSize.
func (s Control) OnLoss(flight, mss uint32) {
	if s.algo == BBR {
		s.saveOnLoss()
		s.episode = episodeFast
		return
	}
	s.saveUndo()
	s.decrease(flight, mss)
	s.episode = episodeFast
}

// OnRTO is the reaction to a retransmission timeout (RFC 5681 §3.1 equation 4). again means that the
// timed-out segment was timed out before. Ssthresh is lowered once for an episode of loss.
func (s Control) OnRTO(flight, mss uint32, again bool) {
	switch {
	case s.algo == BBR:
		s.saveOnLoss()
	case !again && s.episode == episodeNone:
		s.saveUndo()
		s.decrease(flight, mss)
		fallthrough
	default:
		s.cubic.timeout()
		s.flags &^= flagReduced // the window starts from one segment in any case
		s.lost = 0
	}
	s.episode = episodeRTO
	s.Cwnd = mss
	s.acked = 0
}

// OnRecovered ends a fast recovery: the window is the slow-start threshold (RFC 6582 §3.2 step 3).
func (s Control) OnRecovered(mss uint32) {
	if s.algo == BBR {
		s.bbrRestoreCwnd()
		s.episode = episodeNone
		return
	}
	if s.flags&flagReduced != 0 {
		s.flags &^= flagReduced
		s.Ssthresh = max(s.Ssthresh-min(s.Ssthresh, s.lost/2), 2*mss) // RFC 7661 §4.4.1
	}
	s.lost = 0
	s.Cwnd = max(s.Ssthresh, mss)
	s.acked = 0
	s.episode = episodeNone
}

// OnECN is the reduction that the peer's ECE asks for (RFC 3168 §6.1.2): as for a loss, but nothing has
// to be repaired, so the window is lowered at once. The engine calls it once for a window of data, and
// not during recovery.
func (s Control) OnECN(flight, mss uint32) {
	switch s.algo {
	case BBR:
		s.bbrMarked()
		return
	case DCTCP:
		s.dctcpReduce(mss)
	default:
		s.decrease(flight, mss)
	}
	s.Cwnd = max(min(s.Cwnd, s.Ssthresh), mss)
	s.flags |= flagMarked
}

// OnRestart is called before the first segment when nothing was in flight.
func (s Control) OnRestart(now vtime.Time) {
	switch s.algo {
	case BBR:
		s.bbrRestart(now)
	case Cubic:
		s.cubic.pass(now)
	}
	if s.flags&flagInvalid != 0 {
		s.decay(now)
	}
}

// OnIdle restarts after the connection sent nothing for longer than a timeout: at most restart
// octets (RFC 5681 §4.1). Slow start leads back to three quarters of the window (RFC 7661 §4.4.3).
// BBR paces at the rate that it knows instead.
func (s *State) OnIdle(restart uint32) {
	if s.algo == BBR || s.Cwnd <= restart {
		return
	}
	s.Ssthresh = max(s.Ssthresh, s.Cwnd/4*3)
	s.Cwnd = restart
	s.acked = 0
	s.cubic.epoch = 0
	s.valid = validation{}
	s.flags &^= flagInvalid
}

// OnUndo gives back what the last OnLoss or OnRTO took: nothing had been lost (RFC 4015 §3.2,
// RFC 9438 §4.9).
func (s Control) OnUndo() {
	s.episode = episodeNone
	if s.algo == BBR {
		s.bbrUndo()
		return
	}
	if s.flags&flagUndo == 0 {
		return
	}
	s.flags &^= flagUndo | flagReduced
	s.lost = 0
	s.Cwnd = max(s.Cwnd, s.undo.cwnd)
	s.Ssthresh = max(s.Ssthresh, s.undo.ssthresh)
	s.cubic = s.undo.cubic
	s.acked = 0
}

// undoState is the window before the last reduction. Valid with flagUndo.
type undoState struct {
	cwnd, ssthresh uint32
	cubic          cubicState
}

func (s *State) saveUndo() {
	s.undo.cwnd, s.undo.ssthresh, s.undo.cubic = s.Cwnd, s.Ssthresh, s.cubic
	s.flags |= flagUndo
}

// decrease is the multiplicative decrease of a window that grows by acknowledgments. A window that is
// not validated counts only as far as it was used (RFC 7661 §4.4.1).
func (s *State) decrease(flight, mss uint32) {
	cwnd := s.Cwnd
	if s.flags&flagInvalid != 0 {
		cwnd = min(cwnd, max(s.valid.pipeACK(), flight))
		flight = cwnd
		s.flags = s.flags&^flagInvalid | flagReduced
	}
	switch s.algo {
	case Cubic:
		s.cubicDecrease(cwnd, mss)
	default:
		s.Ssthresh = max(flight/2, 2*mss)
	}
	s.acked = 0
}
