package tcpoffload

// The use of local ports, for whoever decides ahead of the engine which segments are its own.

// NumPorts is how many TCP ports an address has, 0 among them.
const NumPorts = 1 << 16

// showFull tells whether another connection fits.
func (e *Engine) showFull() {
	if len(e.portUse) == 0 {
		return
	}
	e.portUse[0] = 0
	if e.Conns() == len(e.conns)-1 {
		e.portUse[0] = 1
	}
}

// countPorts counts what adopted memory holds. From then on hashInsert and hashRemove keep count.
func (e *Engine) countPorts() {
	clear(e.portUse)
	if len(e.portUse) == 0 {
		return
	}
	for h, ok := e.Next(0); ok; h, ok = e.Next(h.Index() + 1) {
		if i := h.Index(); i < e.synBase {
			e.portUse[e.conns[i].flow.LocalPort]++
		} else {
			e.portUse[e.record(i).flow.LocalPort]++
		}
	}
	e.showFull()
}
