package tcpoffload

// Why segments are discarded.

// DropReason says why [Engine.Arrive] discarded a segment, or the payload of one. Each discard
// increments exactly one counter of [Engine.Drops]. Zero: not dropped.
type DropReason uint8

// The reasons.
const (
	DropNone           DropReason = iota
	DropNoConnection              // no connection and no listener; answered by RST (RFC 9293 §3.10.7.1)
	DropResetNoConn               // RST for no connection; RSTs are not answered
	DropBadFlags                  // a combination of control bits that no state accepts
	DropBadSource                 // source port 0, an unspecified or multicast source address
	DropListenAck                 // ACK without SYN for a listener; answered by RST
	DropListenReset               // RST for a listener
	DropBacklog                   // SYN, but the listener's accept queue is full, or the SYN cache without cookies
	DropAcceptQueue               // completes a handshake, but the listener's accept queue is full
	DropTableFull                 // completes a handshake, but the connection table is full
	DropSequence                  // outside the receive window; answered by ACK
	DropPAWS                      // timestamp older than the last one (RFC 7323 §5)
	DropBadReset                  // RST in the window but not at RCV.NXT; challenged (RFC 5961 §3)
	DropSynInWindow               // SYN on a synchronized connection; challenged (RFC 5961 §4)
	DropNoAck                     // no ACK bit where there must be one
	DropBadAck                    // acknowledges what was never sent, or is too old (RFC 5961 §5)
	DropSynAckMismatch            // SYN-SENT: the ACK is not for our SYN; answered by RST
	DropDuplicate                 // all octets were received before
	DropWindow                    // the window is closed for these octets
	DropReasmLimit                // too many holes in the receive stream, the octets fit in none
	DropAfterClose                // data for a program that is gone; answered by RST
	DropAfterFIN                  // data or FIN beyond the peer's FIN
	DropTimeWait                  // for a connection in TIME-WAIT
	DropTimeWaitReset             // RST for a connection in TIME-WAIT (RFC 1337)
	DropNoRoom                    // SYN, but the owner has no room for another connection of the listener
	NumDropReasons
)

// String returns the name under which the reason is counted.
func (r DropReason) String() string {
	if r < NumDropReasons {
		return dropName(r)
	}
	return "unknown"
}

func dropName(r DropReason) string {
	switch r {
	case DropNone:
		return "none"
	case DropNoConnection:
		return "no-connection"
	case DropResetNoConn:
		return "reset-no-connection"
	case DropBadFlags:
		return "bad-flags"
	case DropBadSource:
		return "bad-source"
	case DropListenAck:
		return "listen-ack"
	case DropListenReset:
		return "listen-reset"
	case DropBacklog:
		return "backlog"
	case DropAcceptQueue:
		return "accept-queue"
	case DropTableFull:
		return "table-full"
	case DropSequence:
		return "sequence"
	case DropPAWS:
		return "paws"
	case DropBadReset:
		return "bad-reset"
	case DropSynInWindow:
		return "syn-in-window"
	case DropNoAck:
		return "no-ack"
	case DropBadAck:
		return "bad-ack"
	case DropSynAckMismatch:
		return "syn-ack-mismatch"
	case DropDuplicate:
		return "duplicate"
	case DropWindow:
		return "window"
	case DropReasmLimit:
		return "reassembly-limit"
	case DropAfterClose:
		return "after-close"
	case DropAfterFIN:
		return "after-fin"
	case DropTimeWait:
		return "time-wait"
	case DropTimeWaitReset:
		return "time-wait-reset"
	case DropNoRoom:
		return "no-room"
	}
	return "unknown"
}
