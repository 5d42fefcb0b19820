package config

import (
	"cmp"
	"errors"
	"net/netip"
	"os"
	"strings"
	"time"

	"opentoe/tcpoffload/wire"
)

// Config is a whole configuration file. configs/reference.yaml describes every key.
type Config struct {
	RuntimeDir string       `mapstructure:"runtime_dir"`
	Grace      Duration     `mapstructure:"shutdown_grace"` // connections may go on for so long after SIGTERM
	DPDK       DPDK         `mapstructure:"dpdk"`
	Ports      []Port       `mapstructure:"ports"`
	Workers    Workers      `mapstructure:"workers"`
	TCP        TCP          `mapstructure:"tcp"`
	Policy     []PolicyRule `mapstructure:"policy"`
	Clients    Clients      `mapstructure:"clients"`
	Mirror     Mirror       `mapstructure:"mirror"`
	Log        Log          `mapstructure:"log"`
}

// DPDK sets up the environment abstraction layer.
type DPDK struct {
	HugePages string   `mapstructure:"huge_pages"` // auto, require or off
	Memory    Size     `mapstructure:"memory"`
	LogLevel  string   `mapstructure:"log_level"`
	ExtraArgs []string `mapstructure:"extra_args"`
}

// Port is one wire and the addresses that toed answers for on it.
type Port struct {
	Name       string         `mapstructure:"name"`
	Device     string         `mapstructure:"device"`
	MTU        int            `mapstructure:"mtu"`     // octets of IP packet
	RxDesc     int            `mapstructure:"rx_desc"` // descriptors of each queue
	TxDesc     int            `mapstructure:"tx_desc"`
	Addresses  []netip.Prefix `mapstructure:"addresses"`
	Routes     []Route        `mapstructure:"routes"`
	Neighbours []Neighbour    `mapstructure:"neighbours"`
	Kernel     string         `mapstructure:"kernel"`
	KernelIf   string         `mapstructure:"kernel_interface"`
	KernelRate Rate           `mapstructure:"kernel_rate"`
	Netfilter  string         `mapstructure:"netfilter"`
	Offloads   Offloads       `mapstructure:"offloads"`
}

// How the kernel sees a port.
const (
	KernelNone   = "none"   // not at all
	KernelTAP    = "tap"    // by an interface that toed makes
	KernelNetdev = "netdev" // by its own, which stays the kernel's
)

// What the kernel's packet filter has to say about offloaded connections.
const (
	NetfilterBypass  = "bypass"  // nothing
	NetfilterRespect = "respect" // it judges the SYNs
)

// Loopback is the device without a wire.
const Loopback = "loopback"

// Route sends packets for To through the gateway Via.
type Route struct {
	To  netip.Prefix `mapstructure:"to"`
	Via netip.Addr   `mapstructure:"via"`
}

// Neighbour is a static entry of the neighbour table.
type Neighbour struct {
	Address netip.Addr `mapstructure:"address"`
	MAC     MAC        `mapstructure:"mac"`
}

// Rate bounds the exception path each way; 0 is no bound.
type Rate struct {
	Frames int  `mapstructure:"frames"` // a second
	Octets Size `mapstructure:"octets"` // a second
}

// Offloads are asked of the device; it gives what it has.
type Offloads struct {
	RxChecksum bool `mapstructure:"rx_checksum"`
	TxChecksum bool `mapstructure:"tx_checksum"`
	TSO        bool `mapstructure:"tso"`
	RSS        bool `mapstructure:"rss"`
}

// Workers are the threads that carry connections.
type Workers struct {
	Count int      `mapstructure:"count"`
	CPUs  []int    `mapstructure:"cpus"` // one each, or empty: not pinned
	Poll  string   `mapstructure:"poll"` // adaptive or busy
	Spin  Duration `mapstructure:"spin"` // without work, before an adaptive worker sleeps
	Merge bool     `mapstructure:"merge_received"`
}

// TCP are the engine's tunables, all workers together where they count something.
type TCP struct {
	CongestionControl string   `mapstructure:"congestion_control"`
	MaxConnections    int      `mapstructure:"max_connections"`
	MaxListeners      int      `mapstructure:"max_listeners"`
	MaxHalfOpen       int      `mapstructure:"max_half_open"` // 0: follows from MaxConnections; likewise below
	MaxTimeWait       int      `mapstructure:"max_time_wait"`
	MaxFlights        int      `mapstructure:"max_flights"`
	MaxIslands        int      `mapstructure:"max_islands"`
	InitialWindow     int      `mapstructure:"initial_window"` // segments
	RcvBuf            Size     `mapstructure:"rcvbuf"`
	RcvBufMax         Size     `mapstructure:"rcvbuf_max"`
	SndBuf            Size     `mapstructure:"sndbuf"`
	SndBufMax         Size     `mapstructure:"sndbuf_max"`
	RTOMin            Duration `mapstructure:"rto_min"`
	RTOMax            Duration `mapstructure:"rto_max"`
	RTOInitial        Duration `mapstructure:"rto_initial"`
	MSL               Duration `mapstructure:"msl"`
	DelayedAck        Duration `mapstructure:"delayed_ack"`
	DelayedAckMax     int      `mapstructure:"delayed_ack_segments"`
	FinWait2          Duration `mapstructure:"fin_wait2"`
	KeepIdle          Duration `mapstructure:"keep_idle"`
	KeepInterval      Duration `mapstructure:"keep_interval"`
	KeepCount         int      `mapstructure:"keep_count"`
	PersistMin        Duration `mapstructure:"persist_min"`
	PersistMax        Duration `mapstructure:"persist_max"`
	SynRetries        int      `mapstructure:"syn_retries"`
	SynAckRetries     int      `mapstructure:"synack_retries"`
	DataRetries       int      `mapstructure:"data_retries"`
	ChallengeAcks     int      `mapstructure:"challenge_acks"` // a second and connection
	BurstSegments     int      `mapstructure:"burst_segments"`
	Pacing            bool     `mapstructure:"pacing"`
	IdleRestart       bool     `mapstructure:"idle_restart"`
	ECN               string   `mapstructure:"ecn"`
	SynCookies        string   `mapstructure:"syn_cookies"`
	AbortOnOverflow   bool     `mapstructure:"abort_on_overflow"`
	FastOpen          string   `mapstructure:"fast_open"`
	FastOpenBare      string   `mapstructure:"fast_open_without_cookies"`
	MTUProbing        string   `mapstructure:"mtu_probing"`
	MinPathMTU        int      `mapstructure:"min_path_mtu"` // octets
	UserTimeout       bool     `mapstructure:"user_timeout_option"`
	UserTimeoutMin    Duration `mapstructure:"user_timeout_min"`
	UserTimeoutMax    Duration `mapstructure:"user_timeout_max"`
	SACK              bool     `mapstructure:"sack"`
	Timestamps        bool     `mapstructure:"timestamps"`
	WindowScaling     bool     `mapstructure:"window_scaling"`
}

// Clients are the programs that attach to toed.
type Clients struct {
	Max        int  `mapstructure:"max"`
	Memory     Size `mapstructure:"memory"` // each
	Slots      int  `mapstructure:"slots"`  // sockets each
	SocketMode Mode `mapstructure:"socket_mode"`

	SocketGroup string `mapstructure:"socket_group"` // "": toed's
	Namespaces  string `mapstructure:"namespaces"`

	// Of all programs of one user together, root's excepted; 0: no limit, of UserMax three quarters of Max.
	UserMax     int    `mapstructure:"user_max"`
	UserSockets int    `mapstructure:"user_sockets"`
	UserMemory  Size   `mapstructure:"user_memory"`
	UserOpens   int    `mapstructure:"user_opens"` // a second
	OverQuota   string `mapstructure:"over_quota"`
}

// Mirror says where copies of the frames go from the start; empty means nowhere.
type Mirror struct {
	Interface string `mapstructure:"interface"`
	File      string `mapstructure:"file"`
	SnapLen   int    `mapstructure:"snaplen"` // octets of each frame
}

// Log is toed's own log on standard error.
type Log struct {
	Level string `mapstructure:"level"`
}

// Default returns the configuration of an empty file, which lacks only ports.
func Default() Config {
	return Config{
		RuntimeDir: "/run/opentoe",
		DPDK:       DPDK{HugePages: "auto", Memory: 256 * MiB, LogLevel: "warning"},
		Workers:    Workers{Count: 1, Poll: "adaptive", Spin: Duration(20 * time.Microsecond), Merge: true},
		TCP:        tcpDefaults(),
		Clients: Clients{
			Max: 256, Memory: 256 * MiB, Slots: 16384, SocketMode: 0o666, Namespaces: "own", OverQuota: "kernel",
		},
		Mirror: Mirror{SnapLen: 65535},
		Log:    Log{Level: "info"},
	}
}

// DefaultPort returns the settings of a port that names only itself, its device and addresses.
func DefaultPort() Port {
	return Port{
		MTU:        1500,
		RxDesc:     2048,
		TxDesc:     2048,
		Kernel:     KernelNone,
		KernelRate: Rate{Frames: 200_000},
		Netfilter:  NetfilterBypass,
		Offloads:   Offloads{RxChecksum: true, TxChecksum: true, TSO: false, RSS: true},
	}
}

// KernelInterface returns the name of the interface by which the kernel sees the port, "" if it does not.
func (p *Port) KernelInterface() string {
	switch p.Kernel {
	case KernelTAP:
		return cmp.Or(p.KernelIf, p.Name)
	case KernelNetdev:
		_, iface, _ := strings.Cut(p.Device, ":")
		return iface
	}
	return ""
}

// FileMode returns the socket mode for os.Chmod.
func (c *Clients) FileMode() os.FileMode { return os.FileMode(c.SocketMode) }

// GID returns the number of the group that may attach, 0 when that is toed's.
func (c *Clients) GID() (uint32, error) {
	if c.SocketGroup == "" {
		return 0, nil
	}
	var g Groups
	err := g.UnmarshalText([]byte(c.SocketGroup))
	if err == nil && g.First != g.Last {
		err = errors.New("write one group, by name or number")
	}
	return g.First, err
}

// HardwareAddr returns the neighbour's Ethernet address.
func (n *Neighbour) HardwareAddr() wire.MAC { return wire.MAC(n.MAC) }

// Names of the sockets in a runtime directory.
const (
	ControlSocket  = "toed.sock"   // programs attach here
	OperatorSocket = "toectl.sock" // toectl asks here
)
