package xdp

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"opentoe/ports"
	"opentoe/tcpoffload/wire"
)

// Names and sizes of steer.c.
const (
	progSteer   = "steer"
	tableClaims = "claims"
	rowAny4     = 0
	rowAny6     = 1
	firstRow    = 2
	maxRows     = 66
	rowWords    = numPorts / 32
)

// MaxAddresses is how many of an interface's addresses can be the TOE's. A listener on a further one, and
// connections from it, are left to the kernel.
const MaxAddresses = maxRows - firstRow

// lostRowFor is how long the program knows the row of an address that was taken away: longer than anybody takes
// who means to give it back at once.
const lostRowFor = 10 * time.Second

// Steering is the program on one interface. Its methods may be called from any goroutine; they are for
// the control path.
type Steering struct {
	objects  steerObjects
	link     link.Link
	injector injector

	mu        sync.Mutex
	memory    []byte   // of the table of listeners; nil once closed
	listening []uint32 // the same, as words
	rows      [maxRows]row
	listeners map[listener]int // how many sockets listen
}

// row is the listening ports of one address. A row that is not own and without listeners is free. The program
// knows it a while longer, so that the workers have what comes for the address: one that was taken away may be
// the kernel's again before we hear of it, and the kernel would reset connections that it does not have.
type row struct {
	addr      wire.Addr
	own       bool      // the interface has the address
	known     bool      // the program knows the row: it is own, or was
	lost      time.Time // when it was own last; valid only if known and not own
	listeners int       // kinds of listener whose bits it has
}

// listener is a row and a port.
type listener struct {
	row  int
	port uint16
}

var _ ports.Steering = (*Steering)(nil)

// Attach puts the program on the interface in place of the one that the driver put there to open its
// sockets, those of queue 0 and on. Between the two, and until SetStation, everything passes.
func Attach(iface string, sockets []int, c *Claims) (*Steering, error) {
	s, err := load(c)
	if err == nil {
		err = s.attach(iface, sockets)
	}
	if err != nil {
		return nil, errors.Join(explain(iface, err), s.Close())
	}
	return s, nil
}

func (s *Steering) attach(iface string, sockets []int) error {
	for i, fd := range sockets {
		if err := s.objects.XsksMap.Put(uint32(i), uint32(fd)); err != nil {
			return fmt.Errorf("socket of queue %d: %w", i, err)
		}
	}
	index, err := Clear(iface)
	if err != nil {
		return err
	}
	if s.injector, err = newInjector(index); err != nil {
		return err
	}
	s.link, err = link.AttachXDP(link.XDPOptions{Program: s.objects.Steer, Interface: index})
	return err
}

// load returns the program with its tables, attached nowhere.
func load(c *Claims) (*Steering, error) {
	s := &Steering{listeners: map[listener]int{}}
	if err := rlimit.RemoveMemlock(); err != nil {
		return s, err
	}
	spec, err := loadSteer()
	if err != nil {
		return s, err
	}
	spec.Maps[tableClaims].MaxEntries = uint32(c.workers)
	err = spec.LoadAndAssign(&s.objects, &ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{tableClaims: c.table},
	})
	if err != nil {
		return s, err
	}
	if s.memory, err = mapMemory(s.objects.Listening); err != nil {
		return s, err
	}
	s.listening = words(s.memory)
	return s, nil
}

// Close takes the program off the interface. It may be called more than once.
func (s *Steering) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if s.link != nil {
		errs = append(errs, s.link.Close())
		s.link = nil
	}
	if s.memory != nil {
		errs = append(errs, unix.Munmap(s.memory))
		s.memory, s.listening = nil, nil
	}
	return errors.Join(append(errs, s.injector.pass.Close(), s.objects.Close())...)
}

// SetStation says which frames are for the interface: those to mac, with packets to one of its addresses.
// It keeps the listeners. Addresses beyond MaxAddresses stay with the kernel: ErrTableFull.
func (s *Steering) SetStation(mac wire.MAC, own []wire.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory == nil {
		return nil // the interface is the kernel's alone
	}
	var errs []error
	station := [8]byte{}
	copy(station[:], mac[:])
	if err := s.objects.Station.Set(station); err != nil {
		errs = append(errs, err)
	}
	for i := firstRow; i < maxRows; i++ {
		if r := &s.rows[i]; r.own && !slices.Contains(own, r.addr) {
			lost := time.Now()
			r.own, r.lost = false, lost
			time.AfterFunc(lostRowFor, func() { s.forget(i, lost) })
		}
	}
	for _, a := range own {
		i, err := s.row(a)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r := &s.rows[i]
		r.own = true
		if !r.known {
			r.known = true
			errs = append(errs, s.objects.RowsOf.Put(a, uint32(i)))
		}
	}
	return errors.Join(errs...)
}

// row returns the row of address a, else a free one, which is a's from now on: rather one that the program does
// not know.
func (s *Steering) row(a wire.Addr) (int, error) {
	free := 0
	for i := firstRow; i < maxRows; i++ {
		r := &s.rows[i]
		switch used := r.own || r.listeners > 0; {
		case (used || r.known) && r.addr == a:
			return i, nil
		case !used && (free == 0 || s.rows[free].known && !r.known):
			free = i
		}
	}
	if free == 0 {
		return 0, fmt.Errorf("xdp: address %v is left to the kernel: %w", a, ports.ErrTableFull)
	}
	err := s.unknow(&s.rows[free])
	s.rows[free].addr = a
	return free, err
}

// unknow has the program forget a row that is not own.
func (s *Steering) unknow(r *row) error {
	if !r.known {
		return nil
	}
	r.known = false
	return s.objects.RowsOf.Delete(r.addr)
}

// forget ends the while for which the program knows row i, whose address was lost then. Since, it may have been
// given back and taken away again.
func (s *Steering) forget(i int, lost time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := &s.rows[i]; s.memory != nil && !r.own && r.lost.Equal(lost) {
		_ = s.unknow(r) // the worst is that the workers give back what comes for it
	}
}

// Listen says that SYNs for addr and port are the TOE's, or not any more. Sockets that listen on the same
// are counted. ErrTableFull: there is no row for the address.
func (s *Steering) Listen(addr wire.Addr, v4, v6 bool, port uint16, on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory == nil {
		return nil
	}
	if !addr.IsUnspecified() {
		i, err := s.row(addr)
		if err == nil {
			s.listen(listener{i, port}, on)
		}
		return err
	}
	if v4 {
		s.listen(listener{rowAny4, port}, on)
	}
	if v6 {
		s.listen(listener{rowAny6, port}, on)
	}
	return nil
}

// listen counts a listener; the first sets its bit, the last clears it.
func (s *Steering) listen(l listener, on bool) {
	word := &s.listening[l.row*rowWords+int(l.port/32)]
	bit := uint32(1) << (l.port % 32)
	switch n := s.listeners[l]; {
	case on && n == 0:
		*word |= bit
		s.rows[l.row].listeners++
		s.listeners[l] = 1
	case on:
		s.listeners[l] = n + 1
	case n == 1:
		*word &^= bit
		s.rows[l.row].listeners--
		delete(s.listeners, l)
	case n > 1:
		s.listeners[l] = n - 1
	}
}

// explain adds the mend to what can go wrong.
func explain(iface string, err error) error {
	mend := ""
	switch {
	case errors.Is(err, syscall.EBUSY):
		mend = fmt.Sprintf(": another XDP program is attached: ip link set dev %s xdp off", iface)
	case errors.Is(err, syscall.EPERM):
		mend = ": toed needs CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW: run it as root"
	}
	if iface != "" {
		iface += ": "
	}
	return fmt.Errorf("xdp: %s%w%s", iface, err, mend)
}
