package tcpoffload

// Every limit of the engine: its unit, and what happens when it is hit.

const (
	// MaxArriveActions and MaxArriveSegs are what one Arrive may append: room that the caller
	// has to leave in Output. Without room Arrive panics (actions), or postpones an ACK and
	// forgets what the peer will ask for again (segments): a reset, a SYN-ACK, the last ACK.
	MaxArriveActions = 10
	MaxArriveSegs    = 2
	// MaxCallActions and MaxCallSegs are what one Call may append.
	MaxCallActions = 2
	MaxCallSegs    = 1
	// MaxTransmitActions is the room for actions without which Transmit does nothing.
	MaxTransmitActions = 1
	// maxExpireActions and maxExpireSegs are what one timer may append. When there is less room
	// Expire stops, and NextDeadline says that it has to go on.
	maxExpireActions = 2
	maxExpireSegs    = 1

	// MaxConns bounds the connection table, MaxRecords the SYN cache and the TIME-WAIT table.
	// Together they fit in the 24 bits that a device has for an index. NewMemory is asked for less.
	MaxConns   = 1 << 23
	MaxRecords = 1 << 21
	// The default sizes of the SYN cache and of the TIME-WAIT table lie between these. A full SYN
	// cache answers by SYN cookies; a full TIME-WAIT table forgets its oldest entry, counted.
	minRecords       = 64
	defaultHalfOpens = 1 << 16
	defaultTimeWaits = 1 << 18
	// defaultFastOpens is how many servers' Fast Open cookies are kept. More: of few that share a
	// place the one used longest ago is forgotten, and asked for a new cookie.
	defaultFastOpens = 256
	// maxExpireRecords is how many records of the SYN cache and of TIME-WAIT one Expire looks at.
	// More: NextDeadline says that it has to go on.
	maxExpireRecords = 256
	// synQueues is how many different waiting times SYN-ACKs have: later ones do not grow.
	synQueues = 8
	// maxListeners bounds the listener table.
	maxListeners = 1 << 16
	// MaxListenerGroup is how many listeners share an address and port, all of whom a SYN looks at. Beyond:
	// CallTableFull.
	MaxListenerGroup = 256
	// portBuckets is the number of buckets of the listener table, by port.
	portBuckets = 1 << 10

	// rangesPerConn is how many islands of octets beyond a hole are kept for each connection. Others
	// are shared: a connection may have four times as many as are left. More: the segment is dropped,
	// DropReasmLimit, and MIB.ReasmPoolEmpty counts it.
	rangesPerConn = 1
	// flightsPerConn is how many entries of what is in flight are kept for each connection. Others are
	// shared: a connection may have four times as many as are left. More: octets of several instants
	// share an entry, SACK blocks are ignored, new octets wait (MIB.FlightPoolEmpty).
	flightsPerConn = 2
	// sharedPerConn and minShared size the shared parts when NewMemory chooses.
	sharedPerConn = 2
	minShared     = 1 << 13
	// MaxPool bounds either pool. NewMemory panics for more.
	MaxPool = 1 << 28
	// maxFlightWalk is how many entries of the flight list one ACK may look at to find what SACK blocks
	// tell of and what is lost. More: a later ACK or the reordering timer goes on. What an ACK delivers is
	// not counted: each entry is forgotten once.
	maxFlightWalk = 1 << 10
	// maxRangeWalk is how many islands one segment may look at to find its place. More:
	// DropReasmLimit.
	maxRangeWalk = 1 << 10
	// maxOrderWalk is how many entries an entry may pass to find its place in an order that is kept
	// only for speed.
	maxOrderWalk = 32

	// pathEntries is how many addresses the engine remembers path MTUs of, in sets of pathWays; a set that
	// is full forgets the oldest.
	pathEntries = 1 << 10
	pathWays    = 4

	// txQuantum is how many segments a connection sends before the next one has its turn.
	txQuantum = 16
	// quickAcks is how many segments at the start of a connection, or after idle, are
	// acknowledged at once, so that the sender's slow start is not held back.
	quickAcks = 16
	// dupThresh is DupThresh of RFC 6675: segments or islands above a hole that make it a loss.
	dupThresh = 3

	// orphanRetries and orphanProbes bound the timeouts in a row and the probes of a shut window,
	// answered or not, of a connection that no program holds: a peer must not keep it for ever.
	// More: it is given up, after about two and five minutes with the default timers.
	orphanRetries = 8
	orphanProbes  = 12

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
