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
	Draining    bool              `json:"draining"`     // nothing new is offloaded
	PolicyRules int               `json:"policy_rules"` // rules that are loaded
	MemoryBytes uint64            `json:"memory_bytes"` // octets in use by clients' sockets
	Users       []UserUse         `json:"users"`        // whose programs are attached
}

// UserUse is what the programs of one user have, and may have; 0: no limit.
type UserUse struct {
	UID         uint32 `json:"uid"`
	Clients     int    `json:"clients"`
	ClientsMax  int    `json:"clients_max"`
	Sockets     int    `json:"sockets"`
	SocketsMax  int    `json:"sockets_max"`
	MemoryBytes int64  `json:"memory_bytes"` // of memory files, most of them untouched
	MemoryMax   int64  `json:"memory_max"`
	OpensMax    int    `json:"opens_max"` // a second
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

	// Kernel says how the kernel sees the port, KernelInterface by which interface.
	Kernel          string `json:"kernel"`
	KernelInterface string `json:"kernel_interface,omitempty"`
	// Netfilter says what the kernel's packet filter has to say about offloaded connections: "bypass" or "respect".
	Netfilter string `json:"netfilter"`
}

// Stats are counters since the start, by name.
type Stats struct {
	TCP     map[string]uint64 `json:"tcp"`     // the engine's, RFC 4022 names first
	Kernel  map[string]uint64 `json:"kernel"`  // its tables, as far as they are followed
	Drops   map[string]uint64 `json:"drops"`   // frames and segments discarded, by reason
	Device  map[string]uint64 `json:"device"`  // the worker loops'
	Sockets map[string]uint64 `json:"sockets"` // the shared-memory server's
	Mirror  map[string]uint64 `json:"mirror"`  // the sniffers'

	// Meanings says in plain words what counters mean.
	Meanings map[string]string `json:"meanings"`

	Workers []Worker `json:"workers"`

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
