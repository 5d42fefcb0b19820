package loopdev

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// maxWorkers is how many workers a device may have: a TID has the worker in its low bits.
const maxWorkers = 16

// Config is what a device is made from.
type Config struct {
	Name     string
	Prefixes []netip.Prefix // the device's addresses, with on-link prefixes
	Workers  int            // 1 to 16; 0 means 1
	RcvBuf   uint32         // octets that a reader may leave unread; 0 means 256 KiB
	MaxConns int            // connection ends, all workers together; 0 means 65536
	MTU      int            // reported only; 0 means 65535
	Lag      time.Duration  // a worker now and then pauses for up to so long, at random, as on a busy machine
}

// Device is a loopback TOE device.
type Device struct {
	toe.BaseDevice
	cfg     Config
	workers []*worker

	listenMu  sync.Mutex                                 // serialises ListenStart and ListenStop
	listeners atomic.Pointer[map[toe.ListenID]*listener] // replaced, never changed
}

var _ toe.Device = (*Device)(nil)

// New returns a device that is not attached.
func New(cfg Config) (*Device, error) {
	if cfg.Name == "" || len(cfg.Prefixes) == 0 {
		return nil, fmt.Errorf("loopdev: a name and an address are needed: %w", toe.ErrInvalid)
	}
	if cfg.Workers == 0 {
		cfg.Workers = 1
	}
	if cfg.Workers < 1 || cfg.Workers > maxWorkers {
		return nil, fmt.Errorf("loopdev: %d workers, want 1 to %d: %w", cfg.Workers, maxWorkers, toe.ErrInvalid)
	}
	if cfg.RcvBuf == 0 {
		cfg.RcvBuf = 256 << 10
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 1 << 16
	}
	if cfg.MTU == 0 {
		cfg.MTU = 65535
	}
	d := &Device{cfg: cfg}
	for i := range cfg.Workers {
		d.workers = append(d.workers, &worker{dev: d, id: i, epfd: -1})
	}
	d.listeners.Store(&map[toe.ListenID]*listener{})
	return d, nil
}

// Name returns the configured name.
func (d *Device) Name() string { return d.cfg.Name }

// Info describes the device.
func (d *Device) Info() toe.Info {
	return toe.Info{
		Type: "loopdev", Workers: d.cfg.Workers, MaxConns: d.cfg.MaxConns,
		Ports: []toe.PortInfo{{Name: d.cfg.Name, MTU: d.cfg.MTU, LinkUp: true, Prefixes: d.cfg.Prefixes}},
	}
}

// Attach starts the workers.
func (d *Device) Attach(up toe.UpperLayer) error {
	if d.workers[0].running.Load() {
		return toe.ErrBusy
	}
	d.listeners.Store(&map[toe.ListenID]*listener{})
	for i, w := range d.workers {
		if err := w.begin(up); err != nil {
			for _, started := range d.workers[:i] {
				_ = started.end()
			}
			return err
		}
	}
	return nil
}

// Detach resets every connection and stops the workers.
func (d *Device) Detach() error {
	for _, w := range d.workers {
		if err := w.end(); err != nil {
			return err
		}
	}
	return nil
}

// worker returns worker i, or nil.
func (d *Device) worker(i int) *worker {
	if i < 0 || i >= len(d.workers) {
		return nil
	}
	return d.workers[i]
}

// Do runs f on worker i and waits.
func (d *Device) Do(i int, f func(vtime.Time)) error {
	if w := d.worker(i); w != nil {
		return w.do(f)
	}
	return toe.ErrInvalid
}

// Post runs f on worker i.
func (d *Device) Post(i int, f func(vtime.Time)) error {
	if w := d.worker(i); w != nil {
		return w.post(f)
	}
	return toe.ErrInvalid
}

// AddWakeFD lets edges on fd end worker i's sleep.
func (d *Device) AddWakeFD(i, fd int) error {
	if w := d.worker(i); w != nil {
		return w.addWakeFD(fd)
	}
	return toe.ErrInvalid
}

// RemoveWakeFD undoes AddWakeFD.
func (d *Device) RemoveWakeFD(i, fd int) error {
	if w := d.worker(i); w != nil {
		return w.removeWakeFD(fd)
	}
	return toe.ErrInvalid
}

// owns reports whether addr is one of the device's addresses.
func (d *Device) owns(addr wire.Addr) bool {
	for _, p := range d.cfg.Prefixes {
		if wire.AddrFrom(p.Addr()) == addr {
			return true
		}
	}
	return false
}
