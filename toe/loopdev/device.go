package loopdev

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// Config is what a device is made from.
type Config struct {
	Name     string
	Prefixes []netip.Prefix // the device's addresses, with on-link prefixes
	RcvBuf   uint32         // octets that a reader may leave unread; 0 means 256 KiB
	MaxConns int            // connection ends; 0 means 65536
	MTU      int            // reported only; 0 means 65535
}

// Device is a loopback TOE device.
type Device struct {
	toe.BaseDevice
	cfg    Config
	epfd   int // under mu but for the worker; -1 while not attached
	wakefd int // ends the worker's sleep for Post; under mu

	up      toe.UpperLayer
	stop    bool          // worker only
	done    chan struct{} // closed when the worker has ended
	running atomic.Bool

	mu     sync.Mutex
	posted []func(vtime.Time)
	signal atomic.Bool // posted is not empty

	listenMu  sync.Mutex                                 // serialises ListenStart and ListenStop
	listeners atomic.Pointer[map[toe.ListenID]*listener] // replaced, never changed

	// Worker only.
	conns   map[toe.TID]*conn
	flows   map[wire.Flow]toe.TID
	active  []*conn // have something to do in this iteration
	spare   []*conn
	lastTID toe.TID
	buf     []byte
	start   time.Time
}

var _ toe.Device = (*Device)(nil)

// New returns a device that is not attached.
func New(cfg Config) (*Device, error) {
	if cfg.Name == "" || len(cfg.Prefixes) == 0 {
		return nil, fmt.Errorf("loopdev: a name and an address are needed: %w", toe.ErrInvalid)
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
	d := &Device{cfg: cfg, epfd: -1, start: time.Now()}
	empty := map[toe.ListenID]*listener{}
	d.listeners.Store(&empty)
	return d, nil
}

// Name returns the configured name.
func (d *Device) Name() string { return d.cfg.Name }

// Info describes the device.
func (d *Device) Info() toe.Info {
	return toe.Info{
		Type: "loopdev", Workers: 1, MaxConns: d.cfg.MaxConns,
		Ports: []toe.PortInfo{{Name: d.cfg.Name, MTU: d.cfg.MTU, Prefixes: d.cfg.Prefixes}},
	}
}

// Attach starts the worker.
func (d *Device) Attach(up toe.UpperLayer) error {
	if d.running.Load() {
		return toe.ErrBusy
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	if d.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("loopdev: epoll: %w", err)
	}
	if d.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(d.epfd)
		d.epfd = -1
		return fmt.Errorf("loopdev: eventfd: %w", err)
	}
	if err = d.watch(d.wakefd); err != nil {
		unix.Close(d.epfd)
		unix.Close(d.wakefd)
		d.epfd = -1
		return err
	}
	d.up, d.stop, d.done = up, false, make(chan struct{})
	d.conns, d.flows = map[toe.TID]*conn{}, map[wire.Flow]toe.TID{}
	d.buf = make([]byte, 64<<10)
	d.active, d.spare, d.posted = nil, nil, nil
	d.signal.Store(false)
	d.running.Store(true)
	go d.work()
	return nil
}

// Detach resets every connection and stops the worker.
func (d *Device) Detach() error {
	if err := d.Do(0, func(vtime.Time) { d.stop = true }); err != nil {
		return err
	}
	<-d.done
	d.mu.Lock()
	defer d.mu.Unlock()
	unix.Close(d.epfd)
	unix.Close(d.wakefd)
	d.epfd = -1 // RemoveWakeFD may still come
	return nil
}

// Do runs f on the worker and waits.
func (d *Device) Do(w int, f func(vtime.Time)) error {
	ran := make(chan struct{})
	if err := d.Post(w, func(now vtime.Time) { f(now); close(ran) }); err != nil {
		return err
	}
	select {
	case <-ran:
		return nil
	case <-d.done:
		// The worker runs what was posted before it ended.
		select {
		case <-ran:
			return nil
		default:
			return toe.ErrDetached
		}
	}
}

// Post runs f on the worker.
func (d *Device) Post(w int, f func(vtime.Time)) error {
	if w != 0 {
		return toe.ErrInvalid
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.running.Load() {
		return toe.ErrDetached
	}
	d.posted = append(d.posted, f)
	d.signal.Store(true)
	_, _ = unix.Write(d.wakefd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return nil
}

// AddWakeFD lets edges on fd end the worker's sleep.
func (d *Device) AddWakeFD(_, fd int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.epfd < 0 {
		return toe.ErrDetached
	}
	return d.watch(fd)
}

func (d *Device) watch(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}
	if err := unix.EpollCtl(d.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("loopdev: wake descriptor: %w", err)
	}
	return nil
}

// RemoveWakeFD undoes AddWakeFD.
func (d *Device) RemoveWakeFD(_, fd int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.epfd < 0 {
		return toe.ErrDetached
	}
	if err := unix.EpollCtl(d.epfd, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
		return fmt.Errorf("loopdev: wake descriptor: %w", err)
	}
	return nil
}

// work is the worker: call the upper layer, move bytes, sleep when there is nothing to do.
func (d *Device) work() {
	runtime.LockOSThread()
	events := make([]unix.EpollEvent, 64)
	idle := 0
	for {
		now := vtime.Time(time.Since(d.start))
		n := d.runPosted(now)
		if d.stop {
			break
		}
		n += d.up.Poll(0, now)
		n += d.pump()
		if idle++; n > 0 {
			idle = 0
		}
		// A few empty rounds spare the sleep between the messages of a conversation.
		if idle < 64 || !d.up.Sleep(0) {
			continue
		}
		if len(d.active) == 0 && !d.signal.Load() {
			_, _ = unix.EpollWait(d.epfd, events, -1)
		} else if len(d.active) > 0 {
			_, _ = unix.EpollWait(d.epfd, events, 1) // a reader's memory is short
		}
		d.up.Awake(0)
		idle = 0
	}
	d.resetAll()
	// Whoever posts from now on is told; whoever posted before is served.
	d.mu.Lock()
	d.running.Store(false)
	d.mu.Unlock()
	d.runPosted(vtime.Time(time.Since(d.start)))
	close(d.done)
}

func (d *Device) runPosted(now vtime.Time) int {
	if !d.signal.Load() {
		return 0
	}
	d.mu.Lock()
	list := d.posted
	d.posted = nil
	d.signal.Store(false)
	d.mu.Unlock()
	for _, f := range list {
		f(now)
	}
	return len(list)
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
