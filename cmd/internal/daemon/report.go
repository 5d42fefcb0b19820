package daemon

import (
	"os"
	"strings"
	"time"

	"opentoe/cmd/internal/ctl"
	"opentoe/cmd/internal/version"
	"opentoe/sockshim/server"
	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// Status implements [ctl.Daemon].
func (d *Daemon) Status() (ctl.Status, error) {
	usage := d.sockets.Usage()
	counters := d.sockets.Counters()
	s := ctl.Status{
		Version:     version.String(),
		PID:         os.Getpid(),
		UptimeNS:    time.Since(d.started),
		RuntimeDir:  d.cfg.RuntimeDir,
		HugePages:   d.hw.eal != nil && d.hw.eal.HugePages(),
		Ports:       d.ports(),
		Clients:     usage.Clients,
		Listeners:   len(d.registry.Listeners()),
		Offloaded:   counters.ActiveOpens + counters.PassiveOpens,
		Refused:     refusals(&counters),
		Draining:    d.registry.Draining(),
		PolicyRules: len(d.policy.Rules()),
		MemoryBytes: uint64(usage.Chunks) << shm.ChunkShift,
	}
	for _, ds := range d.registry.Devices() {
		info := ds.Device.Info()
		s.Devices = append(s.Devices, ctl.Device{
			Name: ds.Device.Name(), Type: info.Type, Active: ds.Active, Workers: info.Workers, MaxConns: info.MaxConns,
		})
	}
	for _, u := range d.sockets.Users() {
		s.Users = append(s.Users, ctl.UserUse{
			UID: u.UID, Clients: u.Clients, ClientsMax: u.MaxClients, Sockets: u.Sockets, SocketsMax: u.MaxSockets,
			MemoryBytes: u.Memory, MemoryMax: u.MaxMemory, OpensMax: u.OpensRate,
		})
	}
	s.Connections = d.eachConn(func(int, *toe.ConnInfo) {})
	return s, nil
}

// clientMemory is the size of all clients' memory files, most of it untouched.
func (d *Daemon) clientMemory() (n uint64) {
	for _, c := range d.sockets.Clients() {
		n += c.Bytes
	}
	return n
}

// refusals names the reasons for which sockets were left to the kernel. A socket that has no
// business on the wire, such as one for loopback, is not refused but was never ours.
func refusals(c *server.Counters) map[string]uint64 {
	m := map[string]uint64{}
	for r := range toe.NumReasons {
		if n := c.Declined[r]; r != toe.Offloaded && r != toe.ReasonLoopback && n > 0 {
			m[r.String()] = n
		}
	}
	return m
}

func (d *Daemon) ports() []ctl.Port {
	info := d.hw.device.Info()
	list := make([]ctl.Port, len(info.Ports))
	for i, p := range info.Ports {
		cfg := &d.cfg.Ports[i]
		port := ctl.Port{Name: cfg.Name, Device: cfg.Device, Driver: info.Type, MTU: p.MTU, LinkUp: true, MAC: p.MAC.String()}
		port.Kernel = cfg.Kernel
		port.KernelInterface = cfg.KernelInterface()
		port.Netfilter = cfg.Netfilter
		for _, a := range p.Prefixes {
			port.Addresses = append(port.Addresses, a.String())
		}
		if d.hw.soft != nil {
			nic := d.hw.nics[i].dev
			port.Device, port.Driver, port.LinkUp = nic.Device(), nic.Driver(), nic.Link().Up && p.LinkUp
			if on := nic.Enabled().String(); on != "none" {
				port.Offloads = strings.Fields(on)
			}
		}
		list[i] = port
	}
	return list
}

// eachConn calls f, on the workers' threads, for the connections in the device's tables, and returns how many
// that were. The tables change meanwhile: a connection that goes from one to another may be seen twice or not at all.
func (d *Daemon) eachConn(f func(worker int, info *toe.ConnInfo)) (n int) {
	dev := d.hw.device
	for w := range dev.Info().Workers {
		for from, more := uint32(0), true; more; more = from != 0 {
			next := uint32(0)                // also when the device is detached: no connections
			_ = dev.Do(w, func(vtime.Time) { // a turn for some of them
				next = dev.EachConn(w, from, func(_ toe.TID, info *toe.ConnInfo) {
					f(w, info)
					n++
				})
			})
			from = next
		}
	}
	return n
}
