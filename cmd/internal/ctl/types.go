package ctl

import "time"

// Error is the body of an answer that is not 200.
type Error struct {
	Message string `json:"error"`
}

// Status is toed in a few lines.
type Status struct {
	Version     string            `json:"version"`
	PID         int               `json:"pid"`
	UptimeNS    time.Duration     `json:"uptime_ns"`
	RuntimeDir  string            `json:"runtime_dir"`
	HugePages   bool              `json:"huge_pages"`
	Devices     []Device          `json:"devices"`
	Ports       []Port            `json:"ports"`
	Clients     int               `json:"clients"`      // attached programs
	Connections int               `json:"connections"`  // in the devices' tables, TIME-WAIT included
	Listeners   int               `json:"listeners"`    //
	Offloaded   uint64            `json:"offloaded"`    // connections since the start, both ways
	Refused     map[string]uint64 `json:"refused"`      // sockets left to the kernel, by reason
	MemoryBytes uint64            `json:"memory_bytes"` // octets in use by clients' sockets
}

// Device is one TOE device.
type Device struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Active   bool   `json:"active"`
	Workers  int    `json:"workers"`
	MaxConns int    `json:"max_connections"`
}

// Port is one wire.
type Port struct {
	Name      string   `json:"name"`
	Device    string   `json:"device"` // as DPDK was told
	Driver    string   `json:"driver"`
	MAC       string   `json:"mac"`
	MTU       int      `json:"mtu"`
	LinkUp    bool     `json:"link_up"`
	Addresses []string `json:"addresses"`
	Offloads  []string `json:"offloads"` // that the device has and does
}

// Socket is an offloaded connection or listener.
type Socket struct {
	State   string `json:"state"`
	RecvQ   uint64 `json:"recv_q"` // octets unread; of a listener: connections to accept
	SendQ   uint64 `json:"send_q"` // octets not acknowledged; of a listener: its backlog
	Local   string `json:"local"`
	Remote  string `json:"remote"`
	Program string `json:"program"` // empty when no program holds it any more
	PID     int    `json:"pid"`
	Device  string `json:"device"`
	Worker  int    `json:"worker"`

	// TCP is absent for listeners.
	TCP *TCPInfo `json:"tcp,omitempty"`
}

// TCPInfo is what `toectl ss -i` shows. Octets, segments or nanoseconds.
type TCPInfo struct {
	RTTNS         int64  `json:"rtt_ns"`
	RTTVarNS      int64  `json:"rttvar_ns"`
	RTONS         int64  `json:"rto_ns"`
	MSS           uint32 `json:"mss"`
	Cwnd          uint32 `json:"cwnd"`
	Ssthresh      uint32 `json:"ssthresh"`
	SndWnd        uint32 `json:"snd_wnd"`
	RcvWnd        uint32 `json:"rcv_wnd"`
	SndWscale     uint8  `json:"snd_wscale"`
	RcvWscale     uint8  `json:"rcv_wscale"`
	SACK          bool   `json:"sack"`
	Timestamps    bool   `json:"timestamps"`
	Unacked       uint32 `json:"unacked"`
	Lost          uint32 `json:"lost"`
	BytesSent     uint64 `json:"bytes_sent"`
	BytesAcked    uint64 `json:"bytes_acked"`
	BytesReceived uint64 `json:"bytes_received"`
	BytesRetrans  uint64 `json:"bytes_retrans"`
	Retrans       uint64 `json:"retrans"`
	CC            string `json:"cc"`
	PacingRate    uint64 `json:"pacing_rate"`   // octets per second, 0: not paced
	DeliveryRate  uint64 `json:"delivery_rate"` // octets per second
	AppLimited    bool   `json:"app_limited"`   // the delivery rate was
	PathMTU       uint32 `json:"path_mtu"`
	ECN           bool   `json:"ecn"`
	ECNSeen       bool   `json:"ecn_seen"`
	MinRTTNS      int64  `json:"min_rtt_ns"`
	Timer         string `json:"timer"`
	TimerLeftNS   int64  `json:"timer_left_ns"`
}

// Stats are counters since the start, by name.
type Stats struct {
	TCP     map[string]uint64 `json:"tcp"`     // the engine's, RFC 4022 names first
	Drops   map[string]uint64 `json:"drops"`   // frames and segments discarded, by reason
	Device  map[string]uint64 `json:"device"`  // the worker loops'
	Sockets map[string]uint64 `json:"sockets"` // the shared-memory server's
	Mirror  map[string]uint64 `json:"mirror"`  // the sniffers'
	Workers []Worker          `json:"workers"`

	// Ports are by name of the port: frames and octets, and what it did with ARP, neighbour discovery
	// and ICMP.
	Ports map[string]map[string]uint64 `json:"ports"`
}

// Worker says how a worker spends its time.
type Worker struct {
	BusyNS     int64  `json:"busy_ns"`
	IdleNS     int64  `json:"idle_ns"`
	AsleepNS   int64  `json:"asleep_ns"`
	Iterations uint64 `json:"iterations"`
	Sleeps     uint64 `json:"sleeps"`
}
