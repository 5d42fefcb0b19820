package tcpoffload

// Connection states (RFC 9293 §3.3.2) and the legal edges between them.

// State is a connection's state. LISTEN is not among them: listeners have their own table.
type State uint8

// The states. A free table entry is in StateClosed.
const (
	StateClosed State = iota
	StateSynSent
	StateSynReceived
	StateEstablished
	StateFinWait1
	StateFinWait2
	StateCloseWait
	StateClosing
	StateLastAck
	StateTimeWait
	numStates
)

// String returns the RFC's name.
func (s State) String() string {
	switch s {
	case StateClosed:
		return "CLOSED"
	case StateSynSent:
		return "SYN-SENT"
	case StateSynReceived:
		return "SYN-RECEIVED"
	case StateEstablished:
		return "ESTABLISHED"
	case StateFinWait1:
		return "FIN-WAIT-1"
	case StateFinWait2:
		return "FIN-WAIT-2"
	case StateCloseWait:
		return "CLOSE-WAIT"
	case StateClosing:
		return "CLOSING"
	case StateLastAck:
		return "LAST-ACK"
	case StateTimeWait:
		return "TIME-WAIT"
	}
	return "?"
}

// stateSet is a set of states, one bit each.
type stateSet uint32

// has masks the shift: with a constant set it is one bit test.
func (s stateSet) has(x State) bool { return 1<<(x&31)&s != 0 }

// Facts that depend on the state alone, as constant sets: bit n stands for State n.
const (
	// canQueue: CallSend may append to the send stream.
	canQueue stateSet = 1<<StateSynSent | 1<<StateSynReceived | 1<<StateEstablished | 1<<StateCloseWait
	// canTransmit: data, retransmissions and our FIN may be sent.
	canTransmit stateSet = 1<<StateEstablished | 1<<StateCloseWait | 1<<StateFinWait1 | 1<<StateClosing | 1<<StateLastAck
	// canReceive: the peer's octets are placed in the receive stream.
	canReceive stateSet = 1<<StateEstablished | 1<<StateFinWait1 | 1<<StateFinWait2
	// isEstab: counted in MIB.CurrEstab.
	isEstab stateSet = 1<<StateEstablished | 1<<StateCloseWait
	// isOpening: the three-way handshake is not complete.
	isOpening stateSet = 1<<StateSynSent | 1<<StateSynReceived
)

// legal returns the states that may follow s (RFC 9293 figure 5, with the abort edges).
func legal(s State) stateSet {
	switch s {
	case StateClosed:
		return 1<<StateSynSent | 1<<StateSynReceived
	case StateSynSent:
		return 1<<StateClosed | 1<<StateSynReceived | 1<<StateEstablished
	case StateSynReceived:
		return 1<<StateClosed | 1<<StateEstablished | 1<<StateFinWait1
	case StateEstablished:
		return 1<<StateClosed | 1<<StateFinWait1 | 1<<StateCloseWait
	case StateFinWait1:
		return 1<<StateClosed | 1<<StateFinWait2 | 1<<StateClosing | 1<<StateTimeWait
	case StateFinWait2:
		return 1<<StateClosed | 1<<StateTimeWait
	case StateCloseWait:
		return 1<<StateClosed | 1<<StateLastAck
	case StateClosing:
		return 1<<StateClosed | 1<<StateTimeWait
	case StateLastAck, StateTimeWait:
		return 1 << StateClosed
	}
	return 0
}
