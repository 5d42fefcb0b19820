package pmd

/*
#include "pmd_eal.h"
#include "pmd_port.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// PortConfig says which device to open and how. Zero values mean defaults.
type PortConfig struct {
	Name string // of the port, for messages
	// Device is a PCI address (also to be named in EALConfig.PCI) or a vdev with its arguments:
	// "net_af_xdp0,iface=toe0".
	Device             string
	RxQueues, TxQueues int      // 1; most drivers want as many of one kind as of the other
	RxDesc, TxDesc     int      // descriptors of a queue, 2048
	MTU                int      // octets of IP packet; 0 keeps the device's
	Mbufs              int      // buffers of a queue, 8191
	Offloads           Offloads // what is asked for; the device decides, see [Port.Enabled]
}

// Defaults of [PortConfig].
const (
	DefaultDesc  = 2048
	DefaultMbufs = 8191 // one less than a power of two wastes no memory
	defaultMTU   = 1500
	minMbufs     = 1024  // what the stash, the bursts and the pool's own cache hold, and some to move
	minMTU       = 68    // RFC 791
	maxMTU       = 16000 // a buffer's length has 16 bits, and headers need some
)

// Octets around the IP packet in a buffer.
const (
	etherRoom = 14 + 8 + 4 // header, two VLAN tags, FCS
	xdpRoom   = 256        // AF_XDP leaves XDP programs this much in front of a frame
	minRoom   = 2048       // drivers expect it
)

// Port is an open device, started.
type Port struct {
	eal          *EAL
	name, device string
	id           C.uint16_t
	iface        string // kernel interface under the device, or ""
	driver       string
	capable      Offloads
	enabled      Offloads
	room         int // octets of frame that a buffer takes, with what goes around an IP packet
	queues       []*Queue
}

// Link is a port's link state.
type Link struct {
	Up         bool
	SpeedMbps  int // 0: unknown
	FullDuplex bool
}

// Stats are a port's counters as the driver keeps them. Bytes are octets of frame.
type Stats struct {
	RxFrames, RxBytes uint64
	RxMissed          uint64 // the ring was full
	RxErrors          uint64
	RxNoMbuf          uint64 // no buffer was free
	TxFrames, TxBytes uint64
	TxErrors          uint64
}

// XStat is a counter particular to a driver.
type XStat struct {
	Name  string
	Value uint64
}

// OpenPort plugs in the device, configures it with what it can do of what is asked, and starts it.
// Queues have buffers and frames may arrive when it returns. Errors name device, cause and mend.
func (e *EAL) OpenPort(cfg PortConfig) (*Port, error) {
	e.control.Lock()
	defer e.control.Unlock()
	d, err := parseDevice(cfg.Device)
	if err == nil {
		err = cfg.complete(d)
	}
	if err != nil {
		return nil, fmt.Errorf("open port %s: %w", cfg.Name, err)
	}
	p := &Port{eal: e, name: cfg.Name, device: cfg.Device, iface: d.iface}
	err = captured(func() error { return p.open(&cfg, d) })
	if err != nil {
		return nil, explain(err, d)
	}
	return p, nil
}

// device is a parsed PortConfig.Device.
type device struct {
	bus, name, args string
	iface           string // value of iface=, or ""
	frameSize       int    // value of framesz= (AF_PACKET), or 0; octets
}

// driver returns the driver part of a vdev's name: "net_af_xdp" of "net_af_xdp0".
func (d *device) driver() string { return strings.TrimRight(d.name, "0123456789") }

var pciAddress = regexp.MustCompile(`^([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]$`)

func parseDevice(s string) (*device, error) {
	name, args, _ := strings.Cut(s, ",")
	d := &device{bus: "vdev", name: name, args: args}
	switch {
	case pciAddress.MatchString(name):
		d.bus = "pci"
		if len(name) < len("0000:00:00.0") {
			d.name = "0000:" + name
		}
	case !strings.HasPrefix(name, "net_") && !strings.HasPrefix(name, "eth_"):
		return nil, fmt.Errorf("device %q is neither a PCI address nor a vdev such as net_af_xdp0,iface=toe0", s)
	}
	for arg := range strings.SplitSeq(args, ",") {
		switch k, v, _ := strings.Cut(arg, "="); k {
		case "iface":
			d.iface = v
		case "framesz":
			d.frameSize, _ = strconv.Atoi(v) // the driver judges it
		}
	}
	return d, nil
}

// complete fills in defaults and refuses what cannot be.
func (c *PortConfig) complete(d *device) error {
	if d.iface != "" {
		ifi, err := net.InterfaceByName(d.iface)
		if err != nil {
			return fmt.Errorf("device %s: no network interface is named %q here; see ip link", c.Device, d.iface)
		}
		if c.MTU == 0 {
			c.MTU = ifi.MTU
		}
	}
	for _, f := range []struct {
		name             string
		v                *int
		def, least, most int
	}{
		{"RX queues", &c.RxQueues, 1, 1, 1024},
		{"TX queues", &c.TxQueues, max(c.RxQueues, 1), 1, 1024},
		{"RX descriptors", &c.RxDesc, DefaultDesc, 1, 32768},
		{"TX descriptors", &c.TxDesc, DefaultDesc, 1, 32768},
		{"MTU", &c.MTU, defaultMTU, minMTU, maxMTU},
		{"buffers", &c.Mbufs, DefaultMbufs, minMbufs, 1 << 24},
	} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < f.least || *f.v > f.most {
			return fmt.Errorf("%s: %d is not possible, %d to %d are", f.name, *f.v, f.least, f.most)
		}
	}
	if c.RxQueues != c.TxQueues {
		return fmt.Errorf("%d RX queues and %d TX queues do not pair", c.RxQueues, c.TxQueues)
	}
	return nil
}

// open does OpenPort's work and leaves nothing behind when it fails.
func (p *Port) open(cfg *PortConfig, d *device) (err error) {
	before := packetSockets()
	cname := C.CString(d.name)
	defer C.pmd_string_free(cname)
	if err := p.plug(cname, d); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.shut()
		}
	}()
	if err := p.configure(cfg, d); err != nil {
		return err
	}
	if err := check(C.pmd_port_start(p.id), "start port", p.device); err != nil {
		return err
	}
	p.assignSockets(newSockets(before))
	if p.driver == "net_af_packet" {
		// Until the driver had bound its sockets, they heard every interface of the machine.
		for i := range p.queues {
			C.pmd_port_forget(p.id, C.uint16_t(i))
		}
	}
	return nil
}

// plug has DPDK find the device. EAL has probed the PCI devices of its command line itself.
func (p *Port) plug(name *C.char, d *device) error {
	if C.pmd_port_find(name, &p.id) == 0 {
		if d.bus == "pci" {
			return nil
		}
		return &Errno{Op: "open port", Object: p.device, Err: syscall.EEXIST}
	}
	bus, args := C.CString(d.bus), C.CString(d.args)
	defer C.pmd_string_free(bus)
	defer C.pmd_string_free(args)
	if err := check(C.pmd_port_probe(bus, name, args), "open port", p.device); err != nil {
		return err
	}
	return check(C.pmd_port_find(name, &p.id), "open port", p.device)
}

func (p *Port) configure(cfg *PortConfig, d *device) error {
	var info C.struct_pmd_port_info
	if err := check(C.pmd_port_info(p.id, &info), "ask port", p.device); err != nil {
		return err
	}
	p.driver = C.GoString(&info.driver[0])
	if n := int(min(info.max_rx_queues, info.max_tx_queues)); cfg.RxQueues > n {
		return fmt.Errorf("open port %s: %d queues are asked for, %s has %d", p.device, cfg.RxQueues, p.driver, n)
	}
	if lo, hi := int(info.min_mtu), int(info.max_mtu); cfg.MTU < lo || hi != 0 && cfg.MTU > hi {
		return fmt.Errorf("open port %s: MTU %d is not possible: %s takes %d to %d", p.device, cfg.MTU, p.driver, lo, hi)
	}
	p.capable = offloadsOf(uint32(info.capa))
	p.enabled = cfg.Offloads.And(p.capable)
	p.enabled.RSS = p.enabled.RSS && cfg.RxQueues > 1
	conf := C.struct_pmd_port_config{
		rx_queues: C.uint16_t(cfg.RxQueues),
		tx_queues: C.uint16_t(cfg.TxQueues),
		mtu:       C.uint16_t(cfg.MTU),
		offloads:  C.uint32_t(p.enabled.bits()),
	}
	if err := check(C.pmd_port_configure(p.id, &conf), "configure port", p.device); err != nil {
		return err
	}
	if err := p.applyMTU(cfg.MTU); err != nil {
		return err
	}
	rx, tx := C.uint16_t(cfg.RxDesc), C.uint16_t(cfg.TxDesc)
	if err := check(C.pmd_port_adjust_desc(p.id, &rx, &tx), "configure port", p.device); err != nil {
		return err
	}
	p.room = bufferRoom(cfg.MTU, d)
	for i := range cfg.RxQueues {
		if err := p.addQueue(i, rx, tx, cfg, d, info.socket); err != nil {
			return err
		}
	}
	return nil
}

// bufferRoom returns how many octets a buffer needs, behind DPDK's headroom.
func bufferRoom(mtu int, d *device) int {
	n := max(mtu+etherRoom+xdpRoom, minRoom, d.frameSize)
	return n + (-n & 63) // whole cache lines
}

// addQueue gives the port its i-th queue, with a pool of its own: drivers such as AF_XDP share
// memory with the device pool by pool, and send without a copy what comes from there.
func (p *Port) addQueue(i int, rx, tx C.uint16_t, cfg *PortConfig, d *device, socket C.int) error {
	object := fmt.Sprintf("%s queue %d", p.device, i)
	name := C.CString(fmt.Sprintf("toe_p%d_q%d", p.id, i))
	defer C.pmd_string_free(name)
	var (
		pool *C.struct_pmd_pool
		dma  C.int
	)
	if d.bus == "pci" {
		dma = 1
	}
	rc := C.pmd_pool_new(name, C.uint(cfg.Mbufs), C.uint16_t(p.room), socket, dma, &pool)
	if err := check(rc, "allocate buffers", object); err != nil {
		return err
	}
	q, err := newQueue(p, i, pool, socket, p.enabled.TxChecksum || p.enabled.TSO)
	if err != nil {
		C.pmd_pool_free(pool)
		return err
	}
	p.queues = append(p.queues, q)
	if err := check(C.pmd_port_rx_setup(p.id, C.uint16_t(i), rx, pool), "set up RX", object); err != nil {
		return err
	}
	return check(C.pmd_port_tx_setup(p.id, C.uint16_t(i), tx), "set up TX", object)
}

// assignSockets deals the driver's sockets out to the queues: drivers open them queue by queue, in
// ascending order.
func (p *Port) assignSockets(fds []int) {
	if per := len(fds) / len(p.queues); per > 0 && len(fds)%len(p.queues) == 0 {
		for i, q := range p.queues {
			q.waitFDs = fds[i*per : (i+1)*per]
		}
	} else if len(fds) > 0 {
		for _, q := range p.queues {
			q.waitFDs = fds
		}
	}
}

// shut closes and unplugs the device, then frees the queues' memory, which it used until then.
func (p *Port) shut() error {
	err := check(C.pmd_port_close(p.id), "close port", p.device)
	for _, q := range p.queues {
		q.free()
	}
	p.queues = nil
	return err
}

// Close stops and unplugs the device and frees its queues. Nobody may use the queues, nor frames
// from them, from here on.
func (p *Port) Close() error {
	p.eal.control.Lock()
	defer p.eal.control.Unlock()
	return captured(p.shut)
}

// explain adds what to do about err to the usual failures of kernel-interface devices.
func explain(err error, d *device) error {
	e := (*Errno)(nil)
	if !errors.As(err, &e) || e.Mend != "" {
		return err
	}
	switch {
	case e.Err == syscall.EEXIST:
		e.Mend = "give each port another vdev name"
	case e.Err == syscall.ENOMEM:
		e.Mend = "give DPDK more memory or the port fewer buffers"
	case d.bus == "pci":
		e.Mend = "bind the device to vfio-pci and list its address for EAL (dpdk-devbind.py --status)"
	case syscall.Geteuid() != 0 && d.iface != "":
		e.Mend = "run as root or with CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF"
	case d.driver() == "net_af_xdp":
		e.Mend = "check that the kernel has AF_XDP and no other program holds the interface's queue, or use net_af_packet"
	}
	return e
}

// Name returns the port's name.
func (p *Port) Name() string { return p.name }

// Device returns the device string the port was opened with.
func (p *Port) Device() string { return p.device }

// Driver returns the name of the DPDK driver.
func (p *Port) Driver() string { return p.driver }

// Queues returns how many queues the port has.
func (p *Port) Queues() int { return len(p.queues) }

// Queue returns queue i. Precondition: 0 <= i < Queues().
func (p *Port) Queue(i int) *Queue { return p.queues[i] }

// WaitFDs returns descriptors that become readable when the port has frames, so that an idle
// worker can sleep on them: the sockets of AF_PACKET and AF_XDP ports. It is empty for drivers
// that can only be polled. They belong to the driver: wait on them for input, nothing else.
func (p *Port) WaitFDs() []int {
	var fds []int
	for _, q := range p.queues {
		for _, fd := range q.waitFDs {
			if !slices.Contains(fds, fd) {
				fds = append(fds, fd)
			}
		}
	}
	return fds
}

// Capabilities returns what the device can do; Enabled what of it was asked for and is on.
func (p *Port) Capabilities() Offloads { return p.capable }

// Enabled returns the offloads that are on.
func (p *Port) Enabled() Offloads { return p.enabled }
