package tcpoffload

// Every limit of the engine: its unit, and what happens when it is hit.

const (
	// MaxArriveActions and MaxArriveSegs are what one Arrive may append: room that the caller
	// has to leave in Output. Without room Arrive panics (actions), or postpones an ACK and
	// forgets a reset (segments).
	MaxArriveActions = 8
	MaxArriveSegs    = 1
	// MaxCallActions and MaxCallSegs are what one Call may append.
	MaxCallActions = 2
	MaxCallSegs    = 1
	// maxExpireActions and maxExpireSegs are what one timer may append. When there is less room
	// Expire stops, and NextDeadline says that it has to go on.
	maxExpireActions = 2
	maxExpireSegs    = 1

	// maxConns bounds the connection table; NewMemory is asked for less.
	maxConns = 1 << 24
	// maxListeners bounds the listener table.
	maxListeners = 1 << 16
	// portBuckets is the number of buckets of the listener table, by port.
	portBuckets = 1 << 10

	// maxReasmRanges is how many islands of octets beyond a hole one connection may have. More:
	// the segment is dropped, DropReasmLimit.
	maxReasmRanges = 128
	// maxScoreRanges is how many SACKed islands one connection remembers. More: the highest
	// are forgotten, which costs retransmissions, not correctness.
	maxScoreRanges = 255
	// rangesPerConn sizes the pool that all connections share; at least minRanges. Empty: as if
	// the connection's own limit were reached, MIB.ReasmPoolEmpty.
	rangesPerConn = 2
	minRanges     = 2 * (maxReasmRanges + maxScoreRanges)

	// txQuantum is how many segments a connection sends before the next one has its turn.
	txQuantum = 16
	// quickAcks is how many segments at the start of a connection, or after idle, are
	// acknowledged at once, so that the sender's slow start is not held back.
	quickAcks = 16
	// dupThresh is DupThresh of RFC 6675: segments or islands above a hole that make it a loss.
	dupThresh = 3

	// minRcvBuf and maxRcvBuf bound the receive-stream limit, octets. maxRcvBuf is the largest
	// window (RFC 7323 §2.3).
	minRcvBuf = 2 << 10
	maxRcvBuf = 1 << 30
	// maxSndAhead bounds how far CallSend may run ahead of what is acknowledged, octets; half
	// the sequence space. Beyond: CallInvalid.
	maxSndAhead = 1 << 30
	// maxWscale is the largest window shift (RFC 7323 §2.3).
	maxWscale = 14
	// maxBackoff bounds the exponent of timer back-off.
	maxBackoff = 16

	// minMTU and maxMTU bound the device's largest IP packet, octets; a next hop's is raised.
	minMTU, maxMTU = 576, 65535
	// defaultMSS is assumed without an MSS option: for IPv4, and for IPv6 (RFC 9293 §3.7.1).
	defaultMSS4 = 536
	defaultMSS6 = 1220
	// minMSS is the smallest segment that a peer can make us use, octets. A smaller announcement
	// is raised: it would only burn our packets.
	minMSS = 64
)
