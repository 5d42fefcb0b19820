package softdev

import (
	"sync"

	"opentoe/ports"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// What the steering ahead of the workers is told: listeners. It learns of connections from the engines'
// counters of ports.

// steered are the listeners that the ports' steerings know.
type steered struct {
	mu        sync.Mutex
	listeners map[toe.ListenID]toe.Listener
	paused    map[toe.ListenID]bool // of them, those whose SYNs are the kernel's for now
}

// steer tells the ports that SYNs for l are the device's. The workers listen already. One that a port has no
// place for is not for the device: ReasonSteering.
func (d *Device) steer(l *toe.Listener) toe.Reason {
	if !d.steers() {
		return toe.Offloaded
	}
	d.steered.mu.Lock()
	defer d.steered.mu.Unlock()
	if d.tellSteering(l, true) != nil {
		return toe.ReasonSteering
	}
	if d.steered.listeners == nil {
		d.steered.listeners = map[toe.ListenID]toe.Listener{}
	}
	d.steered.listeners[l.ID] = *l
	return toe.Offloaded
}

// unsteer takes it back. The workers go on to listen until nothing comes any more.
func (d *Device) unsteer(id toe.ListenID) {
	d.steered.mu.Lock()
	defer d.steered.mu.Unlock()
	if l, ok := d.steered.listeners[id]; ok {
		if !d.steered.paused[id] {
			_ = d.tellSteering(&l, false)
		}
		delete(d.steered.listeners, id)
		delete(d.steered.paused, id)
	}
}

// pauseSteering leaves the SYNs for a listener to the kernel, or takes them back, unless its address is gone and
// the place is another's: then they stay.
func (d *Device) pauseSteering(id toe.ListenID, pause bool) {
	d.steered.mu.Lock()
	defer d.steered.mu.Unlock()
	s := &d.steered
	l, ok := s.listeners[id]
	if !ok || s.paused[id] == pause {
		return
	}
	if s.paused == nil {
		s.paused = map[toe.ListenID]bool{}
	}
	if d.tellSteering(&l, !pause) == nil {
		s.paused[id] = pause
	}
}

// steerNothing leaves all listeners' SYNs to the kernel.
func (d *Device) steerNothing() {
	d.steered.mu.Lock()
	defer d.steered.mu.Unlock()
	for id, l := range d.steered.listeners {
		if !d.steered.paused[id] {
			_ = d.tellSteering(&l, false)
		}
	}
	clear(d.steered.listeners)
	clear(d.steered.paused)
}

// steers reports whether a port has a steering or a packet filter to respect.
func (d *Device) steers() bool {
	for i := range d.cfg.Ports {
		if p := &d.cfg.Ports[i]; p.Steering != nil || p.Judge != nil {
			return true
		}
	}
	return false
}

// tellSteering tells every port: an address may move from one to another. If one has no place, none is told.
func (d *Device) tellSteering(l *toe.Listener, on bool) error {
	var told []ports.Steering
	for i := range d.cfg.Ports {
		p := &d.cfg.Ports[i]
		for _, s := range []ports.Steering{p.Steering, p.Judge} {
			if s == nil {
				continue
			}
			if err := s.Listen(l.Addr, !l.V6 || !l.V6Only, l.V6, l.Port, on); err != nil {
				for _, s := range told {
					_ = s.Listen(l.Addr, !l.V6 || !l.V6Only, l.V6, l.Port, !on)
				}
				return err
			}
			told = append(told, s)
		}
	}
	return nil
}

// ICMPError takes in an ICMP error, or a redirect, about a segment that may have been ours, from where the kernel receives
// those: the steering leaves them to it. It does not wait; what is too much is dropped.
func (d *Device) ICMPError(e *wire.ICMPError) {
	if !concerns(e) {
		return
	}
	told := *e
	w := d.workers[d.SteerConnect(&e.Flow)]
	// A full mailbox or a worker that does not run: a real error is repeated.
	_ = d.Post(w.id, func(vtime.Time) { w.tellICMP(&told, true) })
}
