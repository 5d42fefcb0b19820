package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"opentoe/tcpoffload"
)

// Limits of values that other packages need to hold; configs/reference.yaml states them too.
const (
	MaxWorkers = 16    // TOE_MAX_WORKERS
	MaxAddrs   = 16    // TOE_MAX_ADDRS, all ports together
	MaxPorts   = 4     // what a next-hop index and the register map tell apart
	MinMTU     = 1280  // IPv6's minimum link MTU, RFC 8200 §5
	MaxMTU     = 9000  // jumbo frames
	maxIfName  = 15    // IFNAMSIZ - 1
	maxRunPath = 90    // sun_path has 108 octets; our socket names are shorter than 18
	maxDesc    = 32768 // descriptors of a queue

	// The exception path, a second.
	minKernelFrames, maxKernelFrames = 100, 100_000_000
	maxKernelOctets                  = 32 * GiB
)

// checker finds values that cannot work.
type checker struct{ *walker }

func (c checker) bad(key, cause, mend string, args ...any) {
	c.report(c.line(key), key, c.values[key], fmt.Sprintf(cause, args...), mend)
}

// line returns the line of key, or of the nearest key above it that the file has.
func (c checker) line(key string) int {
	for key != "" {
		if l, ok := c.lines[key]; ok {
			return l
		}
		key = above(key)
	}
	return 0
}

func within[T cmp.Ordered](c checker, key string, v, lo, hi T) {
	if v < lo || v > hi {
		c.report(c.line(key), key, fmt.Sprint(v), "out of range", fmt.Sprintf("choose %v to %v", lo, hi))
	}
}

func (c checker) oneOf(key, v string, valid ...string) {
	if !slices.Contains(valid, v) {
		c.report(c.line(key), key, v, "not a valid choice", "choose "+strings.Join(valid, ", "))
	}
}

func (c checker) powerOfTwo(key string, v, lo, hi int) {
	if v&(v-1) != 0 {
		c.bad(key, "not a power of two", fmt.Sprintf("choose one from %d to %d", lo, hi))
		return
	}
	within(c, key, v, lo, hi)
}

func (c checker) config(cfg *Config) {
	if !filepath.IsAbs(cfg.RuntimeDir) || len(cfg.RuntimeDir) > maxRunPath {
		c.bad("runtime_dir", "not an absolute path of at most %d octets", "write one such as /run/opentoe", maxRunPath)
	}
	within(c, "shutdown_grace", cfg.Grace, 0, Duration(24*time.Hour))
	c.dpdk(&cfg.DPDK)
	c.workers(&cfg.Workers)
	c.tcp(&cfg.TCP)
	within(c, "clients.max", cfg.Clients.Max, 1, 65535)
	within(c, "clients.memory", cfg.Clients.Memory, 4*MiB, 64*GiB)
	within(c, "clients.slots", cfg.Clients.Slots, 16, 1<<20)
	c.oneOf("clients.namespaces", cfg.Clients.Namespaces, "own", "any")
	c.oneOf("clients.over_quota", cfg.Clients.OverQuota, "kernel", "refuse")
	within(c, "clients.user_max", cfg.Clients.UserMax, 0, cfg.Clients.Max)
	within(c, "clients.user_sockets", cfg.Clients.UserSockets, 0, 1<<30)
	within(c, "clients.user_memory", cfg.Clients.UserMemory, 0, 1024*GiB)
	within(c, "clients.user_opens", cfg.Clients.UserOpens, 0, 1_000_000_000)
	if _, err := cfg.Clients.GID(); err != nil {
		c.bad("clients.socket_group", "no group", "%v", err)
	}
	c.interfaceName("mirror.interface", cfg.Mirror.Interface, true)
	within(c, "mirror.snaplen", cfg.Mirror.SnapLen, 64, 65535)
	c.oneOf("log.level", cfg.Log.Level, "debug", "info", "warn", "error")
	c.ports(cfg)
	c.policy(cfg)
}

func (c checker) dpdk(d *DPDK) {
	c.oneOf("dpdk.huge_pages", d.HugePages, "auto", "require", "off")
	within(c, "dpdk.memory", d.Memory, 64*MiB, 1024*GiB)
	c.oneOf("dpdk.log_level", d.LogLevel, "error", "warning", "notice", "info", "debug")
}

func (c checker) workers(w *Workers) {
	within(c, "workers.count", w.Count, 1, MaxWorkers)
	if n := len(w.CPUs); n != 0 && n != w.Count {
		c.bad("workers.cpus", "names %d CPUs for %d workers", "name one each, or none", n, w.Count)
	}
	for i, cpu := range w.CPUs {
		within(c, fmt.Sprintf("workers.cpus[%d]", i), cpu, 0, 1023)
		if slices.Contains(w.CPUs[:i], cpu) {
			c.bad("workers.cpus", "names CPU %d twice", "give every worker its own", cpu)
		}
	}
	c.oneOf("workers.poll", w.Poll, "adaptive", "busy")
	within(c, "workers.spin", w.Spin, Duration(time.Microsecond), Duration(time.Second))
}

func (c checker) tcp(t *TCP) {
	second := Duration(time.Second)
	ms := Duration(time.Millisecond)
	c.oneOf("tcp.congestion_control", t.CongestionControl, congestionControls()...)
	within(c, "tcp.max_connections", t.MaxConnections, 16, 1<<22)
	within(c, "tcp.max_listeners", t.MaxListeners, 1, 65535)
	within(c, "tcp.max_half_open", t.MaxHalfOpen, 0, tcpoffload.MaxRecords)
	within(c, "tcp.max_time_wait", t.MaxTimeWait, 0, tcpoffload.MaxRecords)
	within(c, "tcp.max_flights", t.MaxFlights, 0, tcpoffload.MaxPool)
	within(c, "tcp.max_islands", t.MaxIslands, 0, tcpoffload.MaxPool)
	within(c, "tcp.initial_window", t.InitialWindow, 1, 64)
	within(c, "tcp.rcvbuf", t.RcvBuf, 16*KiB, GiB)
	within(c, "tcp.rcvbuf_max", t.RcvBufMax, t.RcvBuf, GiB)
	within(c, "tcp.sndbuf", t.SndBuf, 16*KiB, GiB)
	within(c, "tcp.sndbuf_max", t.SndBufMax, t.SndBuf, GiB)
	within(c, "tcp.rto_min", t.RTOMin, ms, 60*second)
	within(c, "tcp.rto_max", t.RTOMax, max(t.RTOMin, second), 600*second)
	within(c, "tcp.rto_initial", t.RTOInitial, t.RTOMin, t.RTOMax)
	within(c, "tcp.msl", t.MSL, ms, 240*second)
	within(c, "tcp.delayed_ack", t.DelayedAck, 0, 500*ms) // RFC 9293 §3.8.6.3: less than 0.5 s
	within(c, "tcp.delayed_ack_segments", t.DelayedAckMax, 1, 64)
	within(c, "tcp.fin_wait2", t.FinWait2, second, 3600*second)
	within(c, "tcp.keep_idle", t.KeepIdle, second, 32767*second)
	within(c, "tcp.keep_interval", t.KeepInterval, second, 32767*second)
	within(c, "tcp.keep_count", t.KeepCount, 1, 127)
	within(c, "tcp.persist_min", t.PersistMin, ms, 60*second)
	within(c, "tcp.persist_max", t.PersistMax, t.PersistMin, 600*second)
	within(c, "tcp.syn_retries", t.SynRetries, 1, 127)
	within(c, "tcp.synack_retries", t.SynAckRetries, 1, 127)
	within(c, "tcp.data_retries", t.DataRetries, 1, 127)
	within(c, "tcp.challenge_acks", t.ChallengeAcks, 1, 255)
	c.oneOf("tcp.ecn", t.ECN, ecnModes[tcpoffload.ECNOff:]...)
	c.oneOf("tcp.syn_cookies", t.SynCookies, cookieModes...)
	c.oneOf("tcp.fast_open", t.FastOpen, fastOpenModes...)
	c.oneOf("tcp.fast_open_without_cookies", t.FastOpenBare, fastOpenModes...)
	within(c, "tcp.burst_segments", t.BurstSegments, 0, 255)
	c.oneOf("tcp.mtu_probing", t.MTUProbing, probingModes...)
	within(c, "tcp.user_timeout_min", t.UserTimeoutMin, second, t.UserTimeoutMax)
	within(c, "tcp.user_timeout_max", t.UserTimeoutMax, t.UserTimeoutMin, 24*3600*second)
	within(c, "tcp.min_path_mtu", t.MinPathMTU, 256, 1280)
}

func (c checker) ports(cfg *Config) {
	if len(cfg.Ports) == 0 {
		c.bad("ports", "no port", "add one with name, device and addresses")
	}
	if len(cfg.Ports) > MaxPorts {
		c.bad("ports", "%d ports", fmt.Sprintf("at most %d fit", MaxPorts), len(cfg.Ports))
	}
	addresses := 0
	for i := range cfg.Ports {
		p := &cfg.Ports[i]
		key := fmt.Sprintf("ports[%d]", i)
		c.port(key, p)
		c.distinct(key, p, cfg.Ports[:i])
		if p.Device == Loopback && len(cfg.Ports) > 1 {
			c.bad(key+".device", "a loopback is no wire", "leave it the only port")
		}
		if addresses += len(p.Addresses); addresses > MaxAddrs {
			c.bad(key+".addresses", "%d addresses on all ports so far", fmt.Sprintf("at most %d fit", MaxAddrs), addresses)
		}
	}
}

// distinct demands that p shares nothing with the ports before it.
func (c checker) distinct(key string, p *Port, before []Port) {
	for i := range before {
		other := &before[i]
		if p.Name != "" && p.Name == other.Name {
			c.bad(key+".name", "ports[%d] has it", "give every port a name of its own", i)
		}
		if p.Device != "" && deviceIdentity(p.Device) == deviceIdentity(other.Device) {
			c.bad(key+".device", "ports[%d] drives it", "name another", i)
		}
		if p.Kernel == KernelTAP && other.Kernel == KernelTAP && p.KernelInterface() == other.KernelInterface() {
			c.bad(key+".kernel_interface", "that of ports[%d]", "give every port its own", i)
		}
		for j, a := range p.Addresses {
			if slices.ContainsFunc(other.Addresses, func(b netip.Prefix) bool { return a.Addr() == b.Addr() }) {
				c.bad(fmt.Sprintf("%s.addresses[%d]", key, j), "ports[%d] has it", "give an address to one port", i)
			}
		}
	}
}

// deviceIdentity is the part of a device that must not stand twice: the interface, the PCI address, or
// the name of a DPDK virtual device without its arguments.
func deviceIdentity(device string) string {
	if kind, iface, _ := strings.Cut(device, ":"); kind == "af_xdp" || kind == "af_packet" {
		return iface
	}
	name, _, _ := strings.Cut(device, ",")
	return name
}

func (c checker) port(key string, p *Port) {
	c.interfaceName(key+".name", p.Name, false)
	c.device(key+".device", p)
	within(c, key+".mtu", p.MTU, MinMTU, MaxMTU)
	c.powerOfTwo(key+".rx_desc", p.RxDesc, 64, maxDesc)
	c.powerOfTwo(key+".tx_desc", p.TxDesc, 64, maxDesc)
	c.kernel(key, p)
	if p.Kernel == KernelNone && len(p.Addresses) == 0 {
		c.bad(key+".addresses", "no address", "give at least one with its prefix: 10.99.0.1/24")
	}
	for i, a := range p.Addresses {
		c.unicast(fmt.Sprintf("%s.addresses[%d]", key, i), a.Addr())
	}
	for i, r := range p.Routes {
		c.onLink(fmt.Sprintf("%s.routes[%d].via", key, i), p, r.Via)
	}
	for i, n := range p.Neighbours {
		c.onLink(fmt.Sprintf("%s.neighbours[%d].address", key, i), p, n.Address)
	}
}

// kernel checks how the kernel sees the port.
func (c checker) kernel(key string, p *Port) {
	c.oneOf(key+".kernel", p.Kernel, KernelNone, KernelTAP, KernelNetdev)
	c.interfaceName(key+".kernel_interface", p.KernelIf, true)
	if p.KernelRate.Frames != 0 {
		within(c, key+".kernel_rate.frames", p.KernelRate.Frames, minKernelFrames, maxKernelFrames)
	}
	if p.KernelRate.Octets != 0 {
		within(c, key+".kernel_rate.octets", p.KernelRate.Octets, MiB, maxKernelOctets)
	}
	c.oneOf(key+".netfilter", p.Netfilter, NetfilterBypass, NetfilterRespect)
	if p.Netfilter == NetfilterRespect && p.Kernel == KernelNone {
		c.bad(key+".netfilter", "the kernel does not see the port", "choose bypass, or kernel: tap or netdev")
	}
	switch {
	case p.Kernel != KernelTAP && p.KernelIf != "":
		c.bad(key+".kernel_interface", "toed makes no interface for the port", "leave it out, or choose kernel: tap")
	case p.Kernel == KernelTAP && p.Device == Loopback:
		c.bad(key+".kernel", "a loopback is no wire", "choose none")
	case p.Kernel == KernelNetdev:
		c.netdev(key, p)
	}
	if p.Kernel != KernelNone && len(p.Routes) > 0 {
		c.bad(key+".routes", "the kernel's routes are followed", "leave it out, and use ip route")
	}
	if p.Kernel != KernelNone && len(p.Neighbours) > 0 {
		c.bad(key+".neighbours", "the kernel's neighbours are followed", "leave it out, and use ip neigh")
	}
}

// netdev checks a port whose interface the kernel keeps.
func (c checker) netdev(key string, p *Port) {
	if !strings.HasPrefix(p.Device, "af_xdp:") {
		c.bad(key+".kernel", "%s cannot leave to the kernel what is not the TOE's", "use the device af_xdp:IFACE, or kernel: none", cmp.Or(p.Device, "this device"))
	}
}

// device checks the form of a device: "kind:interface", "loopback", a PCI address, or a DPDK
// virtual device with its arguments, which only DPDK can judge.
func (c checker) device(key string, p *Port) {
	kind, rest, _ := strings.Cut(p.Device, ":")
	switch {
	case p.Device == "":
		c.bad(key, "no device", "name one: af_xdp:IFACE, af_packet:IFACE, a PCI address, or a DPDK vdev such as net_memif0,role=client")
	case kind == "af_xdp" || kind == "af_packet":
		c.interfaceName(key, rest, false)
	case p.Device == Loopback, strings.HasPrefix(p.Device, "net_"), strings.Count(p.Device, ":") >= 1:
	default:
		c.bad(key, "not a device", "name one: af_xdp:IFACE, af_packet:IFACE, a PCI address, or a DPDK vdev such as net_memif0,role=client")
	}
}

func (c checker) interfaceName(key, name string, mayBeEmpty bool) {
	switch {
	case name == "" && mayBeEmpty:
	case name == "":
		c.bad(key, "no interface name", "give one of at most 15 octets")
	case len(name) > maxIfName || strings.ContainsAny(name, "/ ,\t") || name == "." || name == "..":
		c.bad(key, "not an interface name", "give one of at most 15 octets without spaces, commas or slashes")
	}
}

func (c checker) unicast(key string, a netip.Addr) {
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Zone() != "" {
		c.bad(key, "not an address of a host on a wire", "give a unicast address")
	}
}

func (c checker) onLink(key string, p *Port, a netip.Addr) {
	if !a.IsValid() {
		c.bad(key, "missing", "give an address that one of the port's prefixes contains")
		return
	}
	local := a.Is6() && a.IsLinkLocalUnicast() // every link has them
	if !slices.ContainsFunc(p.Addresses, func(pfx netip.Prefix) bool { return pfx.Masked().Contains(a) || local && pfx.Addr().Is6() }) {
		c.bad(key, "not on the link", "give an address that one of the port's prefixes contains")
	}
}
