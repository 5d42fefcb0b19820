package tcpoffload

import (
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Handle names a connection: generation in the upper 32 bits, table index in the lower. The zero
// Handle names nothing. A handle whose connection is gone is recognised and refused.
type Handle uint64

// Index returns the position in the connection table.
func (h Handle) Index() uint32 { return uint32(h) }

// ListenerID names a listener of one engine, index plus generation like [Handle]. Zero names nothing.
type ListenerID uint64

// Segment is a received TCP segment in host order, already checked: lengths consistent, checksum
// right. The engine keeps no reference to it.
type Segment struct {
	Flow     wire.Flow // Local is ours: the destination of the received segment
	Seq, Ack seq.Num
	Len      uint32 // payload octets, SYN and FIN not counted
	Wnd      uint16 // as on the wire, unscaled
	Urg      uint16 // urgent pointer, valid only with wire.URG
	Flags    wire.Flags
	ECN      wire.ECN // codepoint of the IP header (RFC 3168 §5)
	Segs     uint16   // segments on the wire, of one ECN codepoint, that the device merged into this one; 0: one
	NextHop  uint32   // where a reply goes: an index the device chose, echoed in TxSegment.NextHop
	MTU      uint16   // largest IP packet towards NextHop, octets; 0: the engine's
	Again    bool     // it came before without its payload, and was counted then
	NoRoom   bool     // a SYN that is not to open a connection: its owner could not take it
	Opt      wire.Options
}

// TxSegment is a segment to build and send. Payload octets are named by their position in the
// connection's send stream; whoever builds the frame fetches them.
type TxSegment struct {
	Handle   Handle // zero for a reply that belongs to no connection (a reset, a SYN cookie)
	Cookie   uint64 // the connection's cookie
	Flow     wire.Flow
	Seq, Ack seq.Num
	Pos      uint64 // stream position of the first payload octet, valid only if Len > 0
	Len      uint32 // payload octets; more than SegSize only when the engine was told that the device segments
	SegSize  uint16 // octets per segment when the device has to cut (TSO), else 0
	Wnd      uint16 // as on the wire, already scaled
	Urg      uint16
	Flags    wire.Flags
	ECN      wire.ECN // codepoint for the IP header
	DF       bool     // IPv4: don't fragment
	TOS      uint8    // DSCP in the upper six bits (RFC 9293 MUST-48)
	TTL      uint8    // or hop limit; 0: the device's (RFC 9293 MUST-49)
	NextHop  uint32   // where it goes
	Opt      wire.Options
}

// ActionKind says what an [Action] asks of, or tells, the owner of the engine.
type ActionKind uint8

// The kinds. Actions are carried out in the order in which they stand in [Output.Actions].
const (
	// ActPlace: copy Len octets, from offset Off of the payload of the segment now arriving, to
	// position Pos of the receive stream. Not yet readable: holes may lie before it.
	ActPlace ActionKind = iota + 1
	// ActReadable: every octet of the receive stream before Pos is in place and in order.
	ActReadable
	// ActAcked: every octet of the send stream before Pos is acknowledged and may be forgotten.
	ActAcked
	// ActEstablished: an active open is complete.
	ActEstablished
	// ActPassEstablished: a passive open of Listener is complete. The owner gives the connection
	// its cookie by SetCookie, or refuses it by CallAbort; a refused handle's later actions are void.
	// Actions of the same Arrive that follow were made before the owner could set the cookie and
	// carry zero: look it up by Handle.
	ActPassEstablished
	// ActPeerClose: the peer's FIN is in order; Pos is the end of the receive stream.
	ActPeerClose
	// ActFinished: the engine has no more to tell of the connection because it ended as Reason
	// says; ReasonNone means closed in order both ways (it may linger in TIME-WAIT).
	ActFinished
	// ActUrgent: the peer's urgent pointer stands at Pos (RFC 6093: the octet before Pos is urgent).
	ActUrgent
	// ActSent: every octet of the send stream before Pos was sent at least once. Only for connections
	// with a NotSentLowat, when what is not sent falls below it.
	ActSent
	// ActSndBuf: the send stream is worth Len octets of buffer now (auto-tuning).
	ActSndBuf
)

// Action is one thing for the owner to do or to know. Which fields are valid depends on Kind.
type Action struct {
	Kind     ActionKind
	Reason   EndReason // ActFinished
	Handle   Handle
	Cookie   uint64
	Listener uint64 // ActPassEstablished: the listener's cookie
	Pos      uint64
	Off, Len uint32 // ActPlace
}

// EndReason says why a connection ended.
type EndReason uint8

// The reasons, after Chelsio's abort reasons.
const (
	ReasonNone        EndReason = iota // closed in order
	ReasonReset                        // the peer reset it: ECONNRESET
	ReasonRefused                      // the peer refused the open: ECONNREFUSED
	ReasonTimedOut                     // retransmission or persist gave up: ETIMEDOUT
	ReasonKeepalive                    // the peer did not answer keepalive probes: ETIMEDOUT
	ReasonUnreachable                  // ICMP said so and the open gave up: EHOSTUNREACH
	ReasonAborted                      // we reset it: data came after CallDetach
)

// Output collects what one entry point produced. The caller owns it, allocates it once with
// NewOutput, and resets it after acting on it. The engine never appends beyond the capacity.
type Output struct {
	Segs    []TxSegment
	Actions []Action
}

// NewOutput returns an Output with room for segs segments and actions actions.
func NewOutput(segs, actions int) *Output {
	return &Output{Segs: make([]TxSegment, 0, segs), Actions: make([]Action, 0, actions)}
}

// Reset empties o and keeps its memory.
func (o *Output) Reset() { o.Segs, o.Actions = o.Segs[:0], o.Actions[:0] }

// CallKind is a user call of RFC 9293 §3.9.1, or one of the few that a TOE adds.
type CallKind uint8

// The calls. Fields named are inputs unless marked as results.
const (
	CallOpen      CallKind = iota + 1 // active open: Flow, NextHop, MTU, Cookie, Opt → Handle, Value = octets that the SYN takes; local port 0: the engine chooses → Flow
	CallListen                        // passive open: Flow.Local, Flow.LocalPort, V6Only, Group, Value = backlog, Cookie, Opt → Listener
	CallUnlisten                      // stop Listener: half-open connections of it are reset
	CallAccepted                      // Listener: the program took Value connections off the accept queue
	CallSend                          // Handle: the send stream now ends at Pos; More = hold a partial segment back; Border
	CallReceived                      // Handle: the program has read everything before Pos
	CallClose                         // Handle: FIN after the last octet of the send stream
	CallAbort                         // Handle: RST, and forget
	CallDetach                        // Handle: nobody will read any more: data that still comes is answered by RST
	CallSetOption                     // Handle (or Listener): Option, Value
	CallNextHop                       // Handle: NextHop, MTU = largest IP packet towards it, octets; 0: as before
	CallICMP                          // Flow, Seq, ICMP, Value = MTU of ICMPTooBig: an ICMP error that quotes a segment of ours
	CallPathMTU                       // Handle: the path takes IP packets of Value octets
)

// ICMPKind classes the ICMP and ICMPv6 errors that the IP layer passes up (RFC 9293 §3.9.2.2).
type ICMPKind uint8

// The classes.
const (
	ICMPSoft   ICMPKind = iota + 1 // network or host unreachable, time exceeded: not fatal (RFC 5461)
	ICMPHard                       // protocol or port unreachable, prohibited: fatal only to an open
	ICMPTooBig                     // fragmentation needed, packet too big (RFC 1191, RFC 8201)
)

// Call is one user call with its arguments and results. CallListen takes as Flow.Local an address of
// ours, the zero Addr (::, any address of either family, or with V6Only of IPv6), or the mapped
// 0.0.0.0 (any IPv4 address). CallAbort and CallUnlisten produce no ActFinished.
type Call struct {
	Kind     CallKind
	Option   Option
	More     bool
	Urgent   bool // CallSend: the octet before Pos is urgent (RFC 6093)
	Border   bool // CallSend: no segment has octets before and after Pos (MSG_EOR)
	ICMP     ICMPKind
	V6Only   bool // CallListen on the zero address: do not accept IPv4
	Handle   Handle
	Listener ListenerID
	Group    uint64 // CallListen: listeners of one group share address and port, and the connections; 0: of none
	Flow     wire.Flow
	NextHop  uint32
	Seq      seq.Num // CallICMP: sequence number that the error quotes
	MTU      uint16  // CallOpen: largest IP packet towards NextHop, octets; 0: the engine's
	Cookie   uint64
	Pos      uint64
	Value    int64
	Opt      SocketOptions
}

// SocketOptions are the per-connection settings at the time of an open. The zero value of a field
// means the engine's default.
type SocketOptions struct {
	RcvBuf      uint32 // octets that the receive stream may hold unread; set, it is not auto-tuned
	RcvClamp    uint32 // upper bound of that, auto-tuned or not; 0: none (TCP_WINDOW_CLAMP)
	SndBuf      uint32 // octets, used by auto-tuning only
	MSS         uint16 // upper bound for both directions
	NoDelay     bool
	Keepalive   bool
	NoSACK      bool
	NoTimestamp bool

	CC            cc.Choice // congestion control
	ECN           ECNMode
	MaxPacingRate uint64         // octets per second, 0: no bound (SO_MAX_PACING_RATE)
	NotSentLowat  uint32         // octets, 0: none (TCP_NOTSENT_LOWAT)
	FastOpen      uint32         // listener: SYNs with data that may wait for their handshake's end; 0: no Fast Open (RFC 7413)
	FastOpenConn  bool           // active open: use a Fast Open cookie, or ask for one
	FastOpenHold  bool           // with FastOpenConn: a SYN that can take data waits for CallSend (TCP_FASTOPEN_CONNECT)
	FastOpenBare  bool           // with FastOpenConn or FastOpen: without cookies (TCP_FASTOPEN_NO_COOKIE)
	UserTimeout   vtime.Duration // 0: none (TCP_USER_TIMEOUT)
	SynRetries    uint8          // active open: SYN retransmissions; 0: the tunable (TCP_SYNCNT)
	TOS           uint8          // DSCP in the upper six bits; the lower two are ECN's and ignored
	TTL           uint8          // or hop limit, 0: the device's
}

// ECNMode says what to do about explicit congestion notification (RFC 3168).
type ECNMode uint8

// The modes.
const (
	ECNDefault ECNMode = iota // the tunable
	ECNOff
	ECNPassive // agree when the peer asks
	ECNOn      // ask
)

// DefaultCC is the value of OptionCC that gives a listener's connections the engine's own choice.
const DefaultCC = -1

// Option names a setting of an open connection for CallSetOption.
type Option uint8

// The options, with the unit of Call.Value.
const (
	OptionNoDelay       Option = iota + 1 // 0 or 1 (RFC 9293 §3.7.4)
	OptionCork                            // 0 or 1
	OptionKeepalive                       // 0 or 1 (RFC 9293 §3.8.4)
	OptionKeepIdle                        // nanoseconds
	OptionKeepIntvl                       // nanoseconds
	OptionKeepCnt                         // probes
	OptionRcvBuf                          // octets
	OptionQuickAck                        // 0 or 1
	OptionUserTimeout                     // nanoseconds, 0 = default (RFC 5482)
	OptionMaxSeg                          // octets
	OptionLinger2                         // nanoseconds in FIN-WAIT-2
	OptionSndBuf                          // octets; 0: auto-tuned
	OptionCC                              // a cc.Algorithm
	OptionECN                             // an ECNMode; before the handshake only
	OptionMaxPacingRate                   // octets per second, 0: no bound
	OptionNotSentLowat                    // octets, 0: none
	OptionTOS                             // as SocketOptions.TOS
	OptionTTL                             // as SocketOptions.TTL
	OptionPMTUDiscover                    // 0 or 1: discover the path MTU (RFC 1191), else leave DF off
	OptionFastOpen                        // Listener: as SocketOptions.FastOpen
	OptionFastOpenBare                    // Listener: 0 or 1, as SocketOptions.FastOpenBare
	OptionSynRetries                      // before the handshake is complete: as SocketOptions.SynRetries
	OptionNoSACK                          // Listener: 0 or 1, as SocketOptions.NoSACK
	OptionNoTimestamp                     // Listener: 0 or 1, as SocketOptions.NoTimestamp
	OptionPause                           // Listener: 0 or 1: what is of no connection or handshake is nobody's
	OptionRcvClamp                        // as SocketOptions.RcvClamp
)

// CallResult says whether a call was accepted. Anything but CallOK changed nothing.
type CallResult uint8

// The results.
const (
	CallOK           CallResult = iota
	CallNoConnection            // the handle names nothing (any more)
	CallTableFull               // no free entry
	CallInUse                   // the 4-tuple or the listening address is taken
	CallInvalid                 // an argument is out of range or the state does not allow it
)
