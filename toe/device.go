package toe

import (
	"net/netip"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// TID names an offloaded connection of one device. The device chooses it; zero names nothing. A
// TID whose connection is gone is recognised by the device and ignored.
type TID uint64

// SockID names a socket of the upper layer. The upper layer chooses it; zero names nothing.
type SockID uint64

// Info describes a device.
type Info struct {
	Type     string     // "softdev", "loopdev"
	Workers  int        // threads that carry connections, at least 1
	MaxConns int        // connections that fit, all workers together
	Conns    int        // of them, those that there are, without half-open ones and TIME-WAIT; 0 if the device does not count them
	Ports    []PortInfo // at least 1; no address belongs to two of them
}

// PortInfo describes one wire of a device at the moment when it was asked for. Ports are numbered by their place in [Info.Ports].
type PortInfo struct {
	Name     string
	MTU      int            // octets of IP packet
	MAC      wire.MAC       // zero if it has none
	LinkUp   bool           // as far as the device knows
	Prefixes []netip.Prefix // the port's own addresses with their on-link prefixes
	Kernel   bool           // the addresses are the kernel's too, and come and go there
}

// Prefixes returns the addresses of all ports with their on-link prefixes.
func (i *Info) Prefixes() []netip.Prefix {
	var list []netip.Prefix
	for _, p := range i.Ports {
		list = append(list, p.Prefixes...)
	}
	return list
}

// Device is something that can carry TCP connections for us: a TOE. Its verbs are those of the
// toedev of Linux' and FreeBSD's TOEs. [BaseDevice] answers every one of them with "not
// supported"; drivers embed it.
//
// Threads. A device runs Info().Workers worker threads. Methods marked [worker] are called only on
// the worker that owns the connection, from inside [UpperLayer.Poll] or a function given to Do;
// their effects (segments, upcalls) come later in the same poll iteration, never from inside the
// call. The other methods may be called from any goroutine.
type Device interface {
	Name() string
	Info() Info

	// Attach starts the device's workers with up as their upper layer; Detach resets what is
	// still connected and stops them. After Detach returns no upcall happens.
	Attach(up UpperLayer) error
	Detach() error

	// Do runs f on worker w's thread between two poll iterations and waits for it to return.
	// It fails with ErrDetached when the worker does not run.
	Do(w int, f func(now vtime.Time)) error
	// Post is Do without waiting. [any thread, also a worker]
	Post(w int, f func(now vtime.Time)) error
	// AddWakeFD makes edges on fd (an eventfd) end worker w's sleep; RemoveWakeFD undoes it. The
	// caller keeps the descriptor.
	AddWakeFD(w int, fd int) error
	RemoveWakeFD(w int, fd int) error

	// CanOffload is a cheap preliminary answer: would the device take this connection? It may
	// still fail later.
	CanOffload(r *ConnectRequest) Reason
	// SteerConnect returns the worker that has to carry the active open f, the one that receives
	// the replies.
	SteerConnect(f *wire.Flow) int

	// ListenStart makes the device answer SYNs for l on every worker; ListenStop ends that and
	// resets half-open connections.
	ListenStart(l *Listener) Reason
	ListenStop(id ListenID)
	// ListenOption changes what connections of a listener start with; those that exist stay as
	// they are.
	ListenOption(id ListenID, o Option, value int64) error
	// Accepted says that the program took n connections off l's accept queue on worker w. [worker]
	Accepted(w int, id ListenID, n int)

	// Connect starts an active open on worker w. Established and Finished tell how it went. [worker]
	Connect(w int, r *ConnectRequest) (TID, Reason)
	// Output says that the send stream now ends at position end; with more set the program is
	// about to append (MSG_MORE). (tod_output) [worker]
	Output(tid TID, end uint64, more bool)
	// OutputUrgent is Output, and the octet before end is urgent (RFC 6093). [worker]
	OutputUrgent(tid TID, end uint64)
	// OutputBorder is Output, and end is a border: no segment has octets of both sides of it (MSG_EOR). [worker]
	OutputBorder(tid TID, end uint64)
	// Received says that the program has read everything before pos. (tod_rcvd) [worker]
	Received(tid TID, pos uint64)
	// SendFIN closes our direction after the last octet of the send stream. [worker]
	SendFIN(tid TID)
	// SendRST aborts: reset to the peer, no more upcalls for tid. [worker]
	SendRST(tid TID)
	// Release says that the program is gone: what the peer still sends is answered by a reset.
	// The device goes on to deliver the send stream; Acked and Finished still come. (tod_pcb_detach) [worker]
	Release(tid TID)
	// SetOption changes a setting of an open connection. [worker]
	SetOption(tid TID, o Option, value int64) error
	// ConnInfo fills info with the connection's present state. (tod_tcp_info) [worker]
	ConnInfo(tid TID, info *ConnInfo) bool
	// EachConn calls f for some connections of worker w, the first ones if from is 0, and returns what from has
	// to be for the next ones, 0 after the last: a worker has other things to do, too. info is reused. [worker]
	EachConn(w int, from uint32, f func(tid TID, info *ConnInfo)) (next uint32)

	// L2Update tells of a neighbour: resolved, changed, or (valid false) gone. (tod_l2_update)
	L2Update(addr wire.Addr, mac wire.MAC, valid bool) error
	// RouteRedirect tells that dst is now reached by gateway. (tod_route_redirect)
	RouteRedirect(dst, gateway wire.Addr) error
	// PMTUUpdate tells the path MTU in octets towards dst. (tod_pmtu_update)
	PMTUUpdate(dst wire.Addr, mtu int) error

	// SetTaps replaces the device's sniffers; none costs the data path a nil test.
	SetTaps(taps ...Tap)
}

// ListenID names a listener across all devices; the registry chooses it. Zero names nothing.
type ListenID uint64

// Listener is a passive open: what PASS_OPEN_REQ asks for.
type Listener struct {
	ID      ListenID
	Addr    wire.Addr // zero or unspecified: every address of the device, of V6Only's families
	Port    uint16    // host order
	V6      bool      // the socket is AF_INET6
	V6Only  bool      // valid only if V6: do not accept IPv4
	Group   uint64    // those of one group may share address and port, and then the connections; 0: of none
	Backlog int       // connections half-open or waiting for accept, each worker
	Opt     SocketOptions

	Client *Client       // who listens, for the policy; nil: not known
	Asked  SocketOptions // what the program asked for, before the policy changed Opt
}

// ConnectRequest is an active open: what ACT_OPEN_REQ asks for.
type ConnectRequest struct {
	Flow   wire.Flow // Local may be unspecified: the device fills in its address; LocalPort is set
	Sock   SockID
	Opt    SocketOptions
	Client *Client // who connects, for the policy; nil: not known
	// SynRoom is a result: the SYN waits for Output, as Opt.FastOpenHold asks, and takes so many octets.
	// Zero: it has gone.
	SynRoom uint32
	// PacingBound is a result of the policy: what the program may set, octets per second; 0: no bound.
	PacingBound uint64
}

// UpperLayer is what a device calls: the socket layer, after FreeBSD's toe_* upcalls. Every method
// is called on worker w's thread, or on the thread of the worker that owns the socket.
type UpperLayer interface {
	// Poll drains the client queues of worker w, calling [worker] methods of the device, and
	// returns how many messages it handled.
	Poll(w int, now vtime.Time) int
	// Sleep announces that worker w is about to block and reports whether it may: false when a
	// client queue is not empty. Awake takes it back.
	Sleep(w int) bool
	Awake(w int)

	// Admits is asked about a SYN for listener l, so many of whose handshakes are under way on the worker: is
	// there room for a connection more? Any reason but Offloaded leaves the SYN to the kernel, or drops it
	// where the kernel has no part in the port.
	Admits(w int, l ListenID, handshakes int) Reason
	// PassEstablish offers a connection of listener l that completed its handshake. ok false
	// refuses it: the device resets it.
	PassEstablish(w int, l ListenID, tid TID, flow *wire.Flow) (s SockID, ok bool)
	// Reserve reports whether n octets can be placed in s's receive stream now. Without room the
	// device drops the segment before the engine sees it; the peer sends it again.
	Reserve(s SockID, n uint32) bool
	// Place copies b to position pos of s's receive stream. Holes may lie before pos. The space
	// was reserved.
	Place(s SockID, pos uint64, b []byte)
	// Fetch copies from position pos of s's send stream into b; ok false when the program broke
	// the contract and those octets cannot be had.
	Fetch(s SockID, pos uint64, b []byte) (ok bool)
	// Notify tells what happened to s.
	Notify(s SockID, e Event)
}

// EventKind says what an [Event] tells.
type EventKind uint8

// The kinds, with the CPL message each stands for.
const (
	EventEstablished EventKind = iota + 1 // ACT_ESTABLISH: the active open is complete; Flow is valid
	EventReadable                         // RX_DATA: the receive stream is complete up to Pos
	EventAcked                            // TX_DATA_ACK: the send stream is acknowledged up to Pos
	EventPeerClose                        // PEER_CLOSE: the receive stream ends at Pos
	EventFinished                         // CLOSE_CON_RPL, ABORT_REQ: the TID is gone or lingers without us; End says why
	EventUrgent                           // RX_URG_NOTIFY: urgent pointer at Pos
	EventSent                             // the send stream was sent up to Pos; for a connection with a NotSentLowat
	EventSndBuf                           // the send stream is worth Pos octets of buffer now
)

// Event is an upcall's content.
type Event struct {
	Kind EventKind
	End  End        // EventFinished
	Pos  uint64     // stream position, or a size
	Flow *wire.Flow // EventEstablished; valid during the call
}

// End says why a connection ended.
type End uint8

// The reasons.
const (
	EndClosed      End = iota // in order, both ways
	EndReset                  // by the peer: ECONNRESET
	EndRefused                // the open was refused: ECONNREFUSED
	EndTimedOut               // ETIMEDOUT
	EndUnreachable            // EHOSTUNREACH
	EndAborted                // by us
	EndDeviceGone             // the device was detached: ECONNRESET
)
