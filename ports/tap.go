package ports

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// TAPConfig describes the kernel's interface on a wire that a driver owns.
type TAPConfig struct {
	Name    string   // of the interface, which must not exist
	MAC     wire.MAC // the wire's
	MTU     int      // octets of IP packet
	Workers int      // at least 1; each has a queue
	Limit   Rate     // each way, all workers together
	// Gone, if set, is told once when somebody has taken the interface away: what the workers hand up
	// from then on is lost, counted.
	Gone func(error)
}

// TAP is a kernel port: a Linux interface with the wire's hardware address, by which the kernel sees
// what the TOE does not take, and sends. It exists as long as the TAP is open.
type TAP struct {
	cfg     TAPConfig
	ends    []*exception
	files   []*os.File
	running sync.WaitGroup
	gone    sync.Once
}

// OpenTAP makes the interface and brings it up. Needs CAP_NET_ADMIN.
func OpenTAP(cfg TAPConfig) (*TAP, error) {
	if cfg.Workers < 1 || cfg.Limit.Frames > maxRate || cfg.Limit.Octets > maxRate {
		return nil, fmt.Errorf("ports: kernel port %q: %w", cfg.Name, ErrInvalid)
	}
	if _, err := net.InterfaceByName(cfg.Name); err == nil {
		return nil, fmt.Errorf("ports: kernel port: interface %q: %w", cfg.Name, fs.ErrExist)
	}
	t := &TAP{cfg: cfg}
	if err := t.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("ports: kernel port %q: %w", cfg.Name, err), t.Close())
	}
	for i, e := range t.ends {
		t.running.Go(func() { e.feed(t.writer(i)) })
		t.running.Go(func() { t.read(i) })
	}
	return t, nil
}

// open makes a queue and an end for each worker, and then sets the interface up.
func (t *TAP) open() error {
	start := time.Now()
	clock := func() vtime.Time { return vtime.Time(time.Since(start)) }
	for i := range t.cfg.Workers {
		file, err := openTAPQueue(t.cfg.Name, i == 0)
		if err != nil {
			return err
		}
		t.files = append(t.files, file)
		e, err := newException(t.cfg.Limit.share(t.cfg.Workers), t.cfg.MTU+linkHeaders, clock)
		if err != nil {
			return err
		}
		t.ends = append(t.ends, e)
	}
	return raiseInterface(&t.cfg)
}

// linkHeaders is what an IP packet grows by on the wire at most: Ethernet with two VLAN tags.
const linkHeaders = wire.EthernetLen + 2*wire.VLANLen

// openTAPQueue opens one queue of a multi-queue TAP interface, the first of which makes it.
func openTAPQueue(name string, first bool) (*os.File, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE)
	if first {
		flags |= unix.IFF_TUN_EXCL // one that is there already is somebody else's
	}
	ifr.SetUint16(flags)
	if err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return nil, errors.Join(fmt.Errorf("TUNSETIFF: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}

// Name returns the interface's name.
func (t *TAP) Name() string { return t.cfg.Name }

// End returns worker w's end. Precondition: 0 <= w < TAPConfig.Workers.
func (t *TAP) End(w int) KernelEnd { return t.ends[w] }

// Counters returns the sum over the workers.
func (t *TAP) Counters() (c KernelCounters) {
	for _, e := range t.ends {
		e.counters(&c)
	}
	return c
}

// Close takes the interface away. Precondition: no worker uses its end any more.
func (t *TAP) Close() error {
	var errs []error
	for _, e := range t.ends {
		close(e.quit)
	}
	for _, f := range t.files {
		errs = append(errs, f.Close())
	}
	t.running.Wait()
	for _, e := range t.ends {
		errs = append(errs, unix.Close(e.wakeFD))
	}
	t.ends, t.files = nil, nil
	return errors.Join(errs...)
}

// writer returns the function that gives the kernel a frame by queue i.
func (t *TAP) writer(i int) func(b []byte) error {
	return func(b []byte) error {
		_, err := t.files[i].Write(b)
		return err
	}
}

// read takes frames from queue i until the TAP is closed or the interface gone. A wait of the runtime's
// poller stands for many reads.
func (t *TAP) read(i int) {
	e, b := t.ends[i], make([]byte, maxSnapLen)
	conn, err := t.files[i].SyscallConn()
	if err != nil {
		return // closed
	}
	var failed error
	_ = conn.Read(func(fd uintptr) (done bool) {
		for e.room() {
			n, err := unix.Read(int(fd), b)
			switch {
			case err == nil:
				if !e.take(b[:n]) {
					return true
				}
			case err == syscall.EAGAIN:
				e.show()
				return false
			case err != syscall.EINTR:
				failed = err
				return true
			}
		}
		return true
	})
	if failed != nil && t.cfg.Gone != nil {
		t.gone.Do(func() { t.cfg.Gone(failed) })
	}
}
