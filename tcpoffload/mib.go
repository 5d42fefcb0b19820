package tcpoffload

// Counters (RFC 4022 and beyond).

// MIB holds the counters of one engine. Fields of the first block are RFC 4022's tcp group; the
// others follow Linux' TcpExt where it has them. They only grow, except CurrEstab.
type MIB struct {
	ActiveOpens  uint64 // SYN-SENT entered by CallOpen
	PassiveOpens uint64 // SYN-RECEIVED entered by a SYN to a listener
	AttemptFails uint64 // opens that ended before ESTABLISHED
	EstabResets  uint64 // connections that ended by reset from ESTABLISHED or CLOSE-WAIT
	CurrEstab    uint64 // connections in ESTABLISHED or CLOSE-WAIT now
	InSegs       uint64 // segments given to Arrive
	OutSegs      uint64 // segments appended, retransmissions not counted
	RetransSegs  uint64 // segments with octets sent before
	InErrs       uint64 // discarded by Arrive for any reason
	OutRsts      uint64 // segments with RST

	InOctets, OutOctets uint64 // payload, placed and sent, retransmissions not counted
	RetransOctets       uint64 // payload sent again
	FastPathAcks        uint64 // pure ACKs that header prediction took
	FastPathData        uint64 // in-order data segments that header prediction took
	OutOfOrder          uint64 // segments placed beyond a hole
	Duplicates          uint64 // segments whose octets had all been received
	DupAcksIn           uint64 // duplicate ACKs (RFC 5681 §2)
	SACKBlocksIn        uint64 // blocks that told something new
	DSACKsIn, DSACKsOut uint64 // RFC 2883
	FastRetrans         uint64 // recoveries entered on duplicate ACKs or SACK
	LostRetrans         uint64 // retransmissions found lost without a timeout
	Timeouts            uint64 // retransmission timeouts
	ReorderTimeouts     uint64 // times that the reordering timer found a loss (RFC 8985 §6.2)
	LossProbes          uint64 // tail loss probes (RFC 8985 §7)
	SpuriousRTOs        uint64 // timeouts found unnecessary
	SpuriousRecoveries  uint64 // fast recoveries found unnecessary
	SACKReneging        uint64 // times that SACKed octets were taken for lost again (RFC 2018 §8)
	SACKWalkLimited     uint64 // SACK blocks put off, at least in part, because the walk was too long
	FlightPoolEmpty     uint64 // entries of the flight list refused for want of room
	FlightCoarse        uint64 // octets of two instants or fates that had to share an entry
	ModelPoolEmpty      uint64 // times that BBR was refused for want of room for its model
	DelayedAcks         uint64 // ACKs sent by the delayed-ACK timer
	ZeroWindowProbes    uint64 // persist probes sent
	KeepaliveProbes     uint64 // keepalive probes sent
	KeepaliveDrops      uint64 // connections ended by keepalive
	TimeoutDrops        uint64 // connections ended by retransmission, persist or user timeout
	ChallengeAcks       uint64 // RFC 5961
	ChallengeLimited    uint64 // challenge ACKs not sent because of the rate limit
	SynRetrans          uint64 // SYN and SYN-ACK retransmissions
	ListenOverflows     uint64 // SYNs and ends of handshakes that found the accept queue full
	ListenDrops         uint64 // those, and others dropped for want of room
	SyncookiesSent      uint64 // SYN-ACKs with a SYN cookie (RFC 4987 §3.6)
	SyncookiesRecv      uint64 // SYN cookies that came back
	SyncookiesFailed    uint64 // ACKs that were looked at as one, and were none
	SynCacheEvicted     uint64 // half-open connections that gave way to a new one
	PAWSDrops           uint64
	TimeWaits           uint64 // connections that entered TIME-WAIT
	TimeWaitReused      uint64 // reopened by a SYN (RFC 6191)
	TimeWaitRecycled    uint64 // cut short because the TIME-WAIT table was full
	ReasmPoolEmpty      uint64 // segments beyond a hole refused for want of pool entries
	BordersForgotten    uint64 // borders of messages not kept for want of pool entries
	IdleRestarts        uint64 // congestion window restarted after idle (RFC 5681 §4.1)
	ICMPErrors          uint64 // CallICMP: believed
	ICMPIgnored         uint64 // CallICMP: not believed (RFC 5927)
	MTUBlackHoles       uint64 // path MTUs lowered because of timeouts (RFC 4821 §7.7)
	MTUProbes           uint64 // probes of a larger path MTU sent
	MTUProbesOK         uint64 // and acknowledged
	MTUProbesLost       uint64
	ECNReductions       uint64 // congestion windows reduced for the peer's ECE (RFC 3168)
	PacingWaits         uint64 // times that paced data waited for its time
	WindowUpdates       uint64 // ACKs sent only because the window opened

	// Fast Open (RFC 7413).
	FastOpenActive         uint64 // opens whose data on the SYN were taken
	FastOpenActiveFail     uint64 // opens whose data on the SYN were not
	FastOpenPaused         uint64 // opens without it because SYNs with it had been lost
	FastOpenPassive        uint64 // SYNs with a good cookie that made a connection
	FastOpenPassiveFail    uint64 // SYNs with a bad cookie
	FastOpenListenOverflow uint64 // SYNs with a good cookie beyond the listener's limit
	FastOpenCookieReqd     uint64 // SYNs that asked for a cookie
}
