package tcpoffload

// How much send buffer is worth having: what the congestion window lets into the network, and as much
// again for the program to fill while that is acknowledged.

// tuneSend raises the recommendation with the congestion window, by a quarter at least so that the owner
// does not hear of every ACK. Linux does the same (tcp_sndbuf_expand).
func (e *Engine) tuneSend(t *TCB, out *Output) {
	if t.snd.mode&sendFixedBuf != 0 || t.sndBuf >= e.tun.MaxSndBuf {
		return
	}
	t.sndBuf = min(2*t.cc.Cwnd+t.cc.Cwnd/2, e.tun.MaxSndBuf)
	out.act(t, ActSndBuf).Len = t.sndBuf
}

// setSndBuf fixes the buffer at n octets, or with 0 lets it be tuned from what it is.
func (e *Engine) setSndBuf(t *TCB, n uint32) {
	t.snd.mode &^= sendFixedBuf
	if n != 0 {
		t.snd.mode |= sendFixedBuf
		t.sndBuf = n
	}
}
