package tcpoffload

// Congestion control that models the path (BBR) has much state: a pool holds it, for the connections that
// use it.

import (
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
)

// Model is what the congestion control of one connection knows of its path.
type Model struct {
	cc   cc.Model
	next uint32 // in the free list
	_    uint32
}

// control returns the congestion control of t.
func (e *Engine) control(t *TCB) cc.Control { return cc.Of(&t.cc, &e.models[t.model].cc) }

// startCongestion gives t its initial window (RFC 6928 §2).
func (e *Engine) startCongestion(t *TCB) {
	a := t.cc.Algorithm()
	if !e.holdModel(t, a) {
		a = cc.Cubic
	}
	e.control(t).Init(a, uint32(e.tun.InitCwnd), t.effMSS(), e.lots(t))
}

// lots returns the seed of what t draws lots for.
func (e *Engine) lots(t *TCB) uint64 { return e.root.hashKey[0] ^ uint64(t.snd.iss) }

// holdModel takes a model from the pool if algorithm a needs one that t does not have, and reports whether
// t can use a now.
func (e *Engine) holdModel(t *TCB, a cc.Algorithm) bool {
	if a != cc.BBR || t.model != 0 {
		return true
	}
	r := e.root
	i := r.freeModel
	switch {
	case i != 0:
		r.freeModel = e.models[i].next
	case r.freshModel < uint32(len(e.models)):
		i = r.freshModel
		r.freshModel++
	default:
		r.mib.ModelPoolEmpty++
		return false
	}
	r.liveModels++
	t.model = i
	return true
}

// dropModel gives t's model back to the pool, if t has one.
func (e *Engine) dropModel(t *TCB) {
	if t.model == 0 {
		return
	}
	r := e.root
	e.models[t.model].next = r.freeModel
	r.freeModel, t.model = t.model, 0
	r.liveModels--
}

// switchCC changes t, which may have sent already, to algorithm a.
func (e *Engine) switchCC(t *TCB, now vtime.Time, a cc.Algorithm) bool {
	if !e.holdModel(t, a) {
		return false
	}
	e.control(t).Switch(a, now, t.rtt.srtt, e.lots(t))
	if a != cc.BBR {
		e.dropModel(t)
	}
	return true
}
