package toe

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// SocketLayer is the other half of an active device: Chelsio's tom_info. The server of the
// shared-memory clients implements it.
type SocketLayer interface {
	// Attach gives the upper layer for dev, whose workers do not run yet.
	Attach(dev Device) (UpperLayer, error)
	// Detach says that dev's workers have stopped for good; no upcall comes any more.
	Detach(dev Device)
}

// Registry holds the TOE devices and the socket layer, activates and deactivates devices, and
// keeps the listeners. It may be used from any goroutine; [Registry.Route] also from a worker.
type Registry struct {
	// mu serialises everything but Route. It is held while a device attaches and detaches, whose
	// workers may call Route meanwhile; never take it on a worker.
	mu        sync.Mutex
	layer     SocketLayer // nil until RegisterSocketLayer
	devices   []*registered
	listeners []*Listener // live ones, in the order of their IDs
	homeless  []*Listener // of them, those whose address no device has yet
	lastID    ListenID

	draining atomic.Bool // nothing new is offloaded; written under mu

	active   atomic.Pointer[[]Device] // what Route sees; replaced, never changed
	routed   [NumReasons]atomic.Uint64
	listened [NumReasons]atomic.Uint64
}

// registered is one device with its place in the activation state machine.
type registered struct {
	dev    Device
	active bool
}

// DeviceStatus describes one registered device.
type DeviceStatus struct {
	Device Device
	Active bool
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	r := &Registry{}
	r.active.Store(new([]Device))
	return r
}

// Register makes dev known under its name; it carries nothing until [Registry.Activate].
func (r *Registry) Register(dev Device) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := dev.Name()
	if name == "" {
		return fmt.Errorf("toe: register: a device needs a name: %w", ErrInvalid)
	}
	if r.find(name) != nil {
		return fmt.Errorf("toe: register %s: %w", name, ErrExists)
	}
	r.devices = append(r.devices, &registered{dev: dev})
	return nil
}

// Unregister forgets the device. It fails with ErrBusy while the device is active.
func (r *Registry) Unregister(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.find(name)
	if d == nil {
		return fmt.Errorf("toe: unregister %s: %w", name, ErrNotFound)
	}
	if d.active {
		return fmt.Errorf("toe: unregister %s: %w", name, ErrBusy)
	}
	r.devices = slices.DeleteFunc(r.devices, func(e *registered) bool { return e == d })
	return nil
}

// RegisterSocketLayer sets the socket layer for devices activated from now on. It fails with
// ErrBusy while a device is active; nil takes the layer away.
func (r *Registry) RegisterSocketLayer(sl SocketLayer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(*r.active.Load()) > 0 {
		return fmt.Errorf("toe: register socket layer: %w", ErrBusy)
	}
	r.layer = sl
	return nil
}

// Activate attaches the socket layer to the device, starts the device, and tells it of the
// listeners that exist. On failure nothing has changed.
func (r *Registry) Activate(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.find(name)
	switch {
	case d == nil:
		return fmt.Errorf("toe: activate %s: %w", name, ErrNotFound)
	case d.active:
		return fmt.Errorf("toe: activate %s: %w", name, ErrBusy)
	case r.layer == nil:
		return fmt.Errorf("toe: activate %s: %w", name, ErrNoSocketLayer)
	}
	up, err := r.layer.Attach(d.dev)
	if err != nil {
		return fmt.Errorf("toe: activate %s: socket layer: %w", name, err)
	}
	if err := d.dev.Attach(up); err != nil {
		r.layer.Detach(d.dev)
		return fmt.Errorf("toe: activate %s: %w", name, err)
	}
	d.active = true
	r.publish()
	for _, l := range r.listeners {
		reason := r.settle(d.dev, l)
		r.listened[reason].Add(1)
		elsewhere := slices.ContainsFunc(*r.active.Load(), func(dev Device) bool { return has(dev, l) })
		switch i := slices.Index(r.homeless, l); {
		case reason == Offloaded && i >= 0:
			r.homeless = slices.Delete(r.homeless, i, i+1)
		case !elsewhere && i < 0 && movable(d.dev):
			r.homeless = append(r.homeless, l)
		}
	}
	return nil
}

// settle starts listener l, which is known already, on dev. Precondition: mu is held.
func (r *Registry) settle(dev Device, l *Listener) Reason {
	reason := listenOn(dev, l)
	if reason == Offloaded && r.draining.Load() {
		_ = dev.ListenOption(l.ID, OptionPause, 1) // it goes on listening where that is not known
	}
	return reason
}

// Rehome starts the listeners that wait for an address on the devices that have it by now, and returns how many
// that were. One that is refused for another reason goes on waiting. Not for workers.
func (r *Registry) Rehome() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.homeless = slices.DeleteFunc(r.homeless, func(l *Listener) bool {
		taken := false
		for _, dev := range *r.active.Load() {
			taken = r.settle(dev, l) == Offloaded || taken
		}
		if taken {
			r.listened[Offloaded].Add(1)
			n++
		}
		return taken
	})
	return n
}

// Waits reports whether listener id waits for its address.
func (r *Registry) Waits(id ListenID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.homeless, func(l *Listener) bool { return l.ID == id })
}

// Deactivate stops the device: its connections are reset, its listeners remain known for the next
// activation.
func (r *Registry) Deactivate(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.find(name)
	switch {
	case d == nil:
		return fmt.Errorf("toe: deactivate %s: %w", name, ErrNotFound)
	case !d.active:
		return fmt.Errorf("toe: deactivate %s: %w", name, ErrDetached)
	}
	// Route must stop choosing the device before its workers stop.
	d.active = false
	r.publish()
	err := d.dev.Detach()
	r.layer.Detach(d.dev)
	if err != nil {
		return fmt.Errorf("toe: deactivate %s: %w", name, err)
	}
	return nil
}

// NewListenID returns an ID for ListenStart: a socket layer has to know a listener before a device does, which may
// have a connection for it before ListenStart returns.
func (r *Registry) NewListenID() ListenID {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastID++
	return r.lastID
}

// ListenStart gives l an ID, unless it has one of NewListenID, starts it on every active device that has its address and remembers
// it for devices activated later. A refusal by all of them is the answer of the last one asked
// that has the address; then the listener is forgotten and l.ID is zero. When none has the address, but one
// might get it, the answer is ReasonLocalAddr, and l.ID is not zero: the listener waits ([Registry.Rehome]), and
// is to be stopped like any other. The registry keeps a copy of l. Not for workers: it waits for them.
func (r *Registry) ListenStart(l *Listener) Reason {
	r.mu.Lock()
	defer r.mu.Unlock()
	reason := r.listenStart(l)
	r.listened[reason].Add(1)
	return reason
}

func (r *Registry) listenStart(l *Listener) Reason {
	id := l.ID
	l.ID = 0
	if l.Port == 0 {
		return ReasonInvalid
	}
	if l.Addr.Netip().IsLoopback() {
		return ReasonLoopback
	}
	active := *r.active.Load()
	if len(active) == 0 {
		return ReasonNoDevice
	}
	if r.draining.Load() {
		return ReasonDraining
	}
	if id == 0 {
		r.lastID++
		id = r.lastID
	}
	kept := *l
	kept.ID = id
	refusal, taken := ReasonLocalAddr, false
	for _, dev := range active {
		switch reason := listenOn(dev, &kept); reason {
		case Offloaded:
			taken = true
		case ReasonLocalAddr: // not this device's business
		default:
			refusal = reason
		}
	}
	switch {
	case taken:
		refusal = Offloaded
	case refusal == ReasonLocalAddr && l.Addr.IsLinkLocal():
		return ReasonLinkLocal
	case refusal == ReasonLocalAddr && slices.ContainsFunc(active, movable):
		r.homeless = append(r.homeless, &kept)
	default:
		return refusal
	}
	l.ID = kept.ID
	r.listeners = append(r.listeners, &kept)
	return refusal
}

// movable reports whether addresses of dev come and go.
func movable(dev Device) bool {
	return slices.ContainsFunc(dev.Info().Ports, func(p PortInfo) bool { return p.Kernel })
}

// ListenStop ends the listener on every device and forgets it; an unknown id is ignored.
// Not for workers.
func (r *Registry) ListenStop(id ListenID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.listeners, func(l *Listener) bool { return l.ID == id })
	if i < 0 {
		return
	}
	r.listeners = slices.Delete(r.listeners, i, i+1)
	r.homeless = slices.DeleteFunc(r.homeless, func(l *Listener) bool { return l.ID == id })
	for _, dev := range *r.active.Load() {
		dev.ListenStop(id)
	}
}

// ListenOption changes what connections of a listener start with, as its program asks, on every active device
// and on those that become active later. What the policy has to say about it, it says as when the listener
// opened. It fails with what the last device that refused says, when none took it. Not for workers.
func (r *Registry) ListenOption(p *Policy, id ListenID, o Option, value int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.listeners, func(l *Listener) bool { return l.ID == id })
	if i < 0 {
		return fmt.Errorf("toe: option of listener %d: %w", id, ErrNotFound)
	}
	asking := *r.listeners[i]
	asking.Asked.set(o, value)
	given := value
	opt := p.Reconsider(&asking)
	opt.changed(&asking.Asked, func(ruled Option, by int64) {
		if ruled == o {
			given = by
		}
	})
	taken, refusal := slices.Contains(r.homeless, r.listeners[i]), ErrDetached
	for _, dev := range *r.active.Load() {
		if err := dev.ListenOption(id, o, given); err != nil {
			refusal = err
		} else {
			taken = true
		}
	}
	if !taken {
		return fmt.Errorf("toe: option of listener %d: %w", id, refusal)
	}
	r.listeners[i].Opt.set(o, given)
	r.listeners[i].Asked.set(o, value)
	return nil
}

// Drain stops (on) or resumes offloading. While it is on, Route and ListenStart answer ReasonDraining, and
// listeners leave new SYNs alone; handshakes under way and connections go on. Not for workers.
func (r *Registry) Drain(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining.Swap(on) == on {
		return
	}
	value := int64(0)
	if on {
		value = 1
	}
	for _, dev := range *r.active.Load() {
		for _, l := range r.listeners {
			_ = dev.ListenOption(l.ID, OptionPause, value) // a device that does not have l has nothing to pause
		}
	}
}

// Draining reports whether [Registry.Drain] is on.
func (r *Registry) Draining() bool { return r.draining.Load() }

// Reconsider gives every listener the settings that the policy has for it now, for connections to come; it
// returns how many listeners changed. Not for workers.
func (r *Registry) Reconsider(p *Policy) (changed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.listeners {
		opt, different := p.Reconsider(l), false
		opt.changed(&l.Opt, func(o Option, value int64) {
			different = true
			for _, dev := range *r.active.Load() {
				_ = dev.ListenOption(l.ID, o, value) // a device that does not have l has nothing to change
			}
		})
		l.Opt = opt
		if different {
			changed++
		}
	}
	return changed
}

// Route returns the first active device that would carry req. When none would, the reason is that
// of the last device that has a route, else ReasonNoRoute, or ReasonNoDevice when none is active.
// It does not block or allocate.
func (r *Registry) Route(req *ConnectRequest) (Device, Reason) {
	refusal := ReasonNoDevice
	for _, dev := range *r.active.Load() {
		switch reason := dev.CanOffload(req); {
		case reason == Offloaded && r.draining.Load():
			refusal = ReasonDraining
		case reason == Offloaded:
			r.routed[Offloaded].Add(1)
			return dev, Offloaded
		case refusal == ReasonNoDevice || reason != ReasonNoRoute:
			refusal = reason
		}
	}
	r.routed[refusal].Add(1)
	return nil, refusal
}

// Devices lists the registered devices in the order of their registration.
func (r *Registry) Devices() []DeviceStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]DeviceStatus, len(r.devices))
	for i, d := range r.devices {
		list[i] = DeviceStatus{d.dev, d.active}
	}
	return list
}

// Listeners returns copies of the live listeners in the order of their IDs.
func (r *Registry) Listeners() []Listener {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Listener, len(r.listeners))
	for i, l := range r.listeners {
		list[i] = *l
	}
	return list
}

// Decisions counts answers by [Reason]; element Offloaded counts consents.
type Decisions [NumReasons]uint64

// Decisions returns how Route and how ListenStart (replays included) have answered so far.
func (r *Registry) Decisions() (routes, listens Decisions) {
	for i := range NumReasons {
		routes[i] = r.routed[i].Load()
		listens[i] = r.listened[i].Load()
	}
	return routes, listens
}

func (r *Registry) find(name string) *registered {
	for _, d := range r.devices {
		if d.dev.Name() == name {
			return d
		}
	}
	return nil
}

// publish shows Route the active devices. Precondition: mu is held.
func (r *Registry) publish() {
	active := make([]Device, 0, len(r.devices))
	for _, d := range r.devices {
		if d.active {
			active = append(active, d.dev)
		}
	}
	r.active.Store(&active)
}

// listenOn starts l on dev if dev has l's address, else answers ReasonLocalAddr.
func listenOn(dev Device, l *Listener) Reason {
	if !has(dev, l) {
		return ReasonLocalAddr
	}
	return dev.ListenStart(l)
}

// has reports whether dev has l's address.
func has(dev Device, l *Listener) bool {
	if l.Addr.IsUnspecified() {
		return true
	}
	addr, info := l.Addr.Netip(), dev.Info()
	return slices.ContainsFunc(info.Prefixes(), func(p netip.Prefix) bool { return p.Addr().Unmap() == addr })
}
