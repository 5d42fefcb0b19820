package tcpoffload

// The low-water mark of octets not sent (TCP_NOTSENT_LOWAT): a program that is asked for more only when
// little waits can change its mind late.

// notSent returns the octets of the send stream that were never sent.
func (e *Engine) notSent(t *TCB) uint64 {
	if isOpening.has(t.state) {
		return t.snd.end
	}
	return e.unsent(t)
}

// watchSent makes Transmit tell when what is not sent falls below the mark, if it is above now.
func (e *Engine) watchSent(t *TCB) {
	if t.lowat != 0 && e.notSent(t) >= uint64(t.lowat) {
		t.snd.mode |= sendLowat
	}
}

// tellSent tells the owner if what is not sent has fallen below the mark.
func (e *Engine) tellSent(t *TCB, out *Output) {
	if n := e.notSent(t); n < uint64(t.lowat) || t.lowat == 0 {
		t.snd.mode &^= sendLowat
		out.act(t, ActSent).Pos = t.snd.end - n
	}
}
