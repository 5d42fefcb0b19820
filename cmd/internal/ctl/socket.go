package ctl

// Socket is an offloaded connection or listener. The fields and their names are stable: new ones may come,
// none goes or changes its meaning.
type Socket struct {
	State    string `json:"state"`            // RFC 9293 name: "ESTABLISHED"
	RecvQ    uint64 `json:"recv_q"`           // octets unread; of a listener: connections to accept
	SendQ    uint64 `json:"send_q"`           // octets not acknowledged; of a listener: its backlog
	Local    string `json:"local"`            // address and port
	Remote   string `json:"remote"`           // likewise; of a listener "*"
	V6       bool   `json:"v6,omitempty"`     // of a listener: the socket is AF_INET6,
	V6Only   bool   `json:"v6only,omitempty"` // and takes no IPv4
	Kernel   string `json:"kernel,omitempty"` // of a listener: why its new connections are the kernel's
	Program  string `json:"program"`          // that opened or accepted it; empty when no program holds it any more
	PID      int    `json:"pid"`
	UID      uint32 `json:"uid"`                // valid only with a pid
	Users    []User `json:"users,omitempty"`    // who holds it, when that was asked for
	Cookie   uint64 `json:"cookie,omitempty"`   // SO_COOKIE
	Detached bool   `json:"detached,omitempty"` // no descriptor is left: the TOE delivers the rest
	Device   string `json:"device"`
	Worker   int    `json:"worker"`

	// TCP is absent for listeners and ended connections.
	TCP *TCPInfo `json:"tcp,omitempty"`
}

// User is a descriptor through which a process holds a socket.
type User struct {
	Program string `json:"program"`
	PID     int    `json:"pid"`
	FD      int    `json:"fd"`
}

// TCPInfo is what `toectl ss -i` shows: octets, segments or nanoseconds, rates in octets per second.
type TCPInfo struct {
	RTTNS         int64  `json:"rtt_ns"`
	RTTVarNS      int64  `json:"rttvar_ns"`
	RTONS         int64  `json:"rto_ns"`
	MinRTTNS      int64  `json:"min_rtt_ns"`
	ATONS         int64  `json:"ato_ns"`
	MSS           uint32 `json:"mss"`
	RcvMSS        uint32 `json:"rcv_mss"`
	AdvMSS        uint32 `json:"adv_mss"`
	PathMTU       uint32 `json:"path_mtu"`
	Cwnd          uint32 `json:"cwnd"`     // octets
	Ssthresh      uint32 `json:"ssthresh"` // octets
	SndWnd        uint32 `json:"snd_wnd"`
	RcvWnd        uint32 `json:"rcv_wnd"`
	SndWscale     uint8  `json:"snd_wscale"`
	RcvWscale     uint8  `json:"rcv_wscale"`
	SACK          bool   `json:"sack"`
	Timestamps    bool   `json:"timestamps"`
	ECN           bool   `json:"ecn"`
	ECNSeen       bool   `json:"ecn_seen"`
	FastOpen      bool   `json:"fast_open"` // the peer took data in our SYN
	CC            string `json:"cc"`
	CAState       uint8  `json:"ca_state"` // 0 open, 1 disorder, 3 recovery, 4 loss
	Backoff       uint8  `json:"backoff"`
	Probes        uint8  `json:"probes"`
	Unacked       uint32 `json:"unacked"`
	Sacked        uint32 `json:"sacked"`
	Lost          uint32 `json:"lost"`
	RetransNow    uint32 `json:"retrans_now"` // and not yet acknowledged
	Retrans       uint64 `json:"retrans"`     // ever
	BytesSent     uint64 `json:"bytes_sent"`
	BytesAcked    uint64 `json:"bytes_acked"`
	BytesReceived uint64 `json:"bytes_received"`
	BytesRetrans  uint64 `json:"bytes_retrans"`
	SegsOut       uint64 `json:"segs_out"`
	SegsIn        uint64 `json:"segs_in"`
	DataSegsOut   uint64 `json:"data_segs_out"`
	DataSegsIn    uint64 `json:"data_segs_in"`
	NotSent       uint64 `json:"notsent"`
	PacingRate    uint64 `json:"pacing_rate"`     // 0: not paced
	MaxPacingRate uint64 `json:"max_pacing_rate"` // 0: no bound
	DeliveryRate  uint64 `json:"delivery_rate"`
	AppLimited    bool   `json:"app_limited"` // the delivery rate was
	Delivered     uint64 `json:"delivered"`
	DeliveredCE   uint64 `json:"delivered_ce"`
	DSACKDups     uint32 `json:"dsack_dups"`
	Reordering    uint32 `json:"reordering"`
	ReordSeen     uint32 `json:"reord_seen"`
	RcvOOO        uint32 `json:"rcv_ooopack"`
	RcvRTTNS      int64  `json:"rcv_rtt_ns"`
	RcvSpace      uint32 `json:"rcv_space"`
	RcvSsthresh   uint32 `json:"rcv_ssthresh"`
	LastSndNS     int64  `json:"lastsnd_ns"` // so long ago
	LastRcvNS     int64  `json:"lastrcv_ns"`
	LastAckNS     int64  `json:"lastack_ns"`
	BusyNS        int64  `json:"busy_ns"` // sums
	RwndLimitedNS int64  `json:"rwnd_limited_ns"`
	SndBufLimNS   int64  `json:"sndbuf_limited_ns"`
	Timer         string `json:"timer"` // "on", "keepalive", "timewait", "persist", ""
	TimerLeftNS   int64  `json:"timer_left_ns"`

	BBR   *BBR   `json:"bbr,omitempty"`   // only if cc is "bbr"
	DCTCP *DCTCP `json:"dctcp,omitempty"` // only if cc is "dctcp"
}

// BBR is the model of a BBR connection.
type BBR struct {
	Bandwidth  uint64 `json:"bandwidth"` // octets per second
	MinRTTNS   int64  `json:"min_rtt_ns"`
	PacingGain uint32 `json:"pacing_gain"` // in 1/256
	CwndGain   uint32 `json:"cwnd_gain"`   // in 1/256
}

// DCTCP is the state of a DCTCP connection.
type DCTCP struct {
	Alpha  uint32 `json:"alpha"`  // share of marked octets, in 1/1024
	Marked uint32 `json:"marked"` // octets
	Acked  uint32 `json:"acked"`  // octets
}
