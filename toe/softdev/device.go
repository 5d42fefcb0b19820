package softdev

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"opentoe/tcpoffload"
	"opentoe/toe"
)

// Device is a software TOE. Its methods may be called from any goroutine unless marked [worker].
type Device struct {
	toe.BaseDevice

	cfg     Config
	workers []*worker

	taps atomic.Pointer[[]toe.Tap] // nil when nobody listens

	mu       sync.Mutex // serialises Attach, Detach and Close
	attached bool
	closed   bool
	running  sync.WaitGroup // worker threads
	tuning   sync.Mutex     // serialises Tune
	steered  steered

	fastOpenKey [16]byte // of Fast Open cookies: a client's next SYN may be another worker's
}

var _ toe.Device = (*Device)(nil)

// New validates cfg and builds the device with all of its memory. Nothing runs until Attach. The
// caller keeps cfg's ports, queues and descriptors and closes them after the device.
func New(cfg Config) (*Device, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	now, err := monotonic()
	if err != nil {
		return nil, fmt.Errorf("softdev: %s: clock: %w", cfg.Name, err)
	}
	d := &Device{cfg: cfg}
	if _, err := rand.Read(d.fastOpenKey[:]); err != nil {
		return nil, fmt.Errorf("softdev: %s: %w", cfg.Name, err)
	}
	for i := range cfg.workers() {
		w, err := newWorker(d, i, now)
		if err != nil {
			d.Close()
			return nil, fmt.Errorf("softdev: %s: worker %d: %w", cfg.Name, i, err)
		}
		d.workers = append(d.workers, w)
	}
	return d, nil
}

// newEngine builds one worker's engine with secrets of its own, but for the key that all share.
func (d *Device) newEngine(worker int) (*tcpoffload.Engine, error) {
	cfg := &d.cfg
	var secret [24]byte
	var use []uint32
	if len(cfg.PortUse) != 0 {
		use = cfg.PortUse[worker]
	}
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, err
	}
	mtu := 0 // of the widest port; what leaves by another says so
	for _, p := range cfg.Ports {
		mtu = max(mtu, p.Port.MTU())
	}
	return tcpoffload.New(tcpoffload.Config{
		Memory:      tcpoffload.NewMemoryOf(cfg.sizes()),
		Tunables:    cfg.Tunables,
		PortUse:     use,
		ISNKey:      [16]byte(secret[:16]),
		FastOpenKey: d.fastOpenKey,
		Seed:        binary.NativeEndian.Uint64(secret[16:]),
		MTU:         mtu,
	})
}

// Name returns the device's name.
func (d *Device) Name() string { return d.cfg.Name }

// Info describes the device, its ports as they are at the moment.
func (d *Device) Info() toe.Info {
	info := toe.Info{Type: "softdev", Workers: d.cfg.workers(), MaxConns: d.cfg.connsPerWorker() * d.cfg.workers()}
	for _, w := range d.workers {
		info.Conns += int(w.live.Load())
	}
	for _, p := range d.cfg.Ports {
		s := p.Port.View()
		info.Ports = append(info.Ports, toe.PortInfo{
			Name: p.Port.Name(), MTU: s.MTU, MAC: s.MAC, LinkUp: s.Up, Prefixes: slices.Clone(s.Addresses),
			Kernel: p.Port.Control() != nil,
		})
	}
	return info
}

// Attach starts the workers. It fails, with none running, when one of them cannot set up its
// thread.
func (d *Device) Attach(up toe.UpperLayer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.attached || d.closed {
		return fmt.Errorf("softdev: %s: attach: %w", d.cfg.Name, toe.ErrBusy)
	}
	var failed error
	for _, w := range d.workers {
		ready := make(chan error, 1)
		d.running.Go(func() { w.main(up, ready) })
		if err := <-ready; err != nil && failed == nil {
			failed = fmt.Errorf("softdev: %s: worker %d: %w", d.cfg.Name, w.id, err)
		}
	}
	d.attached = true
	if failed != nil {
		d.stop()
	}
	return failed
}

// Detach resets every connection, stops the listeners and ends the workers.
func (d *Device) Detach() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.attached {
		return fmt.Errorf("softdev: %s: detach: %w", d.cfg.Name, toe.ErrDetached)
	}
	d.stop()
	return nil
}

// stop ends the workers that run and waits for them. Precondition: mu is held, attached.
func (d *Device) stop() {
	d.steerNothing()
	for _, w := range d.workers {
		// There is always room for this one, and it fails only for a worker that never ran.
		_ = w.mail.put(w.shutDown, maxMailbox+1)
		w.waiter.wake()
	}
	d.running.Wait()
	d.attached = false
}

// Close gives the device's descriptors back. Precondition: it is not attached. A closed device
// cannot be attached again.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.attached {
		return fmt.Errorf("softdev: %s: close: %w", d.cfg.Name, toe.ErrBusy)
	}
	if !d.closed {
		for _, w := range d.workers {
			w.waiter.close()
		}
		d.closed = true
	}
	return nil
}

// worker returns worker w.
func (d *Device) worker(w int) (*worker, error) {
	if w < 0 || w >= len(d.workers) {
		return nil, fmt.Errorf("softdev: %s: no worker %d: %w", d.cfg.Name, w, toe.ErrInvalid)
	}
	return d.workers[w], nil
}

// AddWakeFD makes edges on fd end worker w's sleep.
func (d *Device) AddWakeFD(w, fd int) error {
	wk, err := d.worker(w)
	if err != nil {
		return err
	}
	return wk.waiter.add(fd, wakeEdge)
}

// RemoveWakeFD undoes AddWakeFD; call it before fd is closed.
func (d *Device) RemoveWakeFD(w, fd int) error {
	wk, err := d.worker(w)
	if err != nil {
		return err
	}
	return wk.waiter.remove(fd)
}

// SetTaps replaces the sniffers. A worker notices with its next burst.
func (d *Device) SetTaps(taps ...toe.Tap) {
	if len(taps) == 0 {
		d.taps.Store(nil)
		return
	}
	d.taps.Store(&taps)
}
