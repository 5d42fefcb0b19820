package netfilter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/ports"
	"opentoe/tcpoffload/wire"
)

// Config describes the filter of a port.
type Config struct {
	Interface string // the kernel's, on the port's wire
	Workers   int    // of the device, at least 1
	// Failed, if set, is told when the table could not be brought up to date: the SYNs of listeners that it
	// lacks are the kernel's.
	Failed func(error)
}

// Judge is the kernel's packet filter for the SYNs of one port. It implements [ports.Judge].
type Judge struct {
	cfg     Config
	workers []*outgoing
	reports *os.File
	running sync.WaitGroup
	quit    chan struct{}
	tired   chan struct{} // capacity 1: SYNs are to be the kernel's for a while

	count [NumCounters]atomic.Uint64

	mu        sync.Mutex
	table     *table
	own       []wire.Addr
	listeners map[listener]int // how many sockets listen
	installed map[station]bool // what the table has
	resting   bool
}

// listener is what a socket listens on.
type listener struct {
	station
	v6 bool // valid only if the address is unspecified: which of the families
}

// station is a local address, or none for every one, and a port.
type station struct {
	addr wire.Addr
	port uint16
}

var _ ports.Judge = (*Judge)(nil)

// New makes the table, which takes nothing yet. Needs CAP_NET_ADMIN, CAP_NET_RAW, CAP_SETUID and CAP_SETGID.
func New(cfg Config) (*Judge, error) {
	j := &Judge{
		cfg: cfg, quit: make(chan struct{}), tired: make(chan struct{}, 1),
		listeners: map[listener]int{}, installed: map[station]bool{},
	}
	if err := j.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("netfilter: %s: %w", cfg.Interface, err), j.Close())
	}
	return j, nil
}

func (j *Judge) open() error {
	ifi, err := net.InterfaceByName(j.cfg.Interface)
	if err != nil {
		return err
	}
	p := plan{index: uint32(ifi.Index)}
	arriving, group, err := openReports()
	if err != nil {
		return err
	}
	p.arriving = group
	j.reports = os.NewFile(uintptr(arriving.fd), "reports of SYNs")
	for range j.cfg.Workers {
		reports, group, err := openReports()
		if err != nil {
			return err
		}
		o := &outgoing{reports: reports, index: p.index, token: newToken()}
		j.workers = append(j.workers, o)
		p.leaving, p.tokens = append(p.leaving, group), append(p.tokens, o.token)
	}
	s, err := openSocket()
	if err != nil {
		return err
	}
	j.table = &table{socket: s, name: "opentoe-" + j.cfg.Interface}
	if err := j.table.create(&p); err != nil {
		return fmt.Errorf("table %s: %w", j.table.name, explain(err))
	}
	return nil
}

// newToken returns a sequence number, and a window that no common stack begins with.
func newToken() token { return token{rand.Uint32(), uint16(30000 + 2*rand.IntN(10000) + 1)} }

// explain adds what may be the matter.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EPERM): // not for want of rights: the groups needed the same
		return fmt.Errorf("%w: another toed has the interface", err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the kernel needs tables with an owner (Linux 5.12)", err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: the kernel needs nft_ct and nfnetlink_log", err)
	}
	return err
}

// Start gives the SYNs that the rules let through to deliver, as IP packets that are valid during the call, until
// Close. deliver returns false for one that is lost.
func (j *Judge) Start(deliver func(packet []byte) bool) {
	j.running.Go(func() { j.hear(j.reports, deliver) })
	j.running.Go(j.restSometimes)
}

// hear reads reports until they are closed.
func (j *Judge) hear(reports *os.File, deliver func(packet []byte) bool) {
	b := make([]byte, maxMessage)
	for {
		n, err := reports.Read(b)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			j.count[CountOverruns].Add(1) // ENOBUFS: the kernel had more than fits
			continue
		}
		reported(b[:n], func(packet []byte, _ uint32) {
			j.count[CountIn].Add(1)
			if !deliver(packet) {
				j.count[CountInLost].Add(1)
			}
		})
	}
}

// Leaves implements [ports.Judge].
func (j *Judge) Leaves(w int, f *wire.Flow, uid, gid uint32) bool {
	if j.workers[w].leaves(f, uid, gid) {
		j.count[CountOut].Add(1)
		return true
	}
	j.count[CountOutRefused].Add(1)
	return false
}

// Rest implements [ports.Judge].
func (j *Judge) Rest() {
	select {
	case j.tired <- struct{}{}:
	default:
	}
}

// restSometimes empties the table for a while whenever that is asked for, until Close.
func (j *Judge) restSometimes() {
	for {
		select {
		case <-j.tired:
		case <-j.quit:
			return
		}
		j.count[CountRests].Add(1)
		j.rest(true)
		t := time.NewTimer(restTime)
		select {
		case <-t.C:
		case <-j.quit:
			t.Stop()
			return
		}
		select {
		case <-j.tired: // of the time before the table was empty
		default:
		}
		j.rest(false)
	}
}

func (j *Judge) rest(on bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.resting = on
	j.update()
}

// Listen implements [ports.Steering].
func (j *Judge) Listen(addr wire.Addr, v4, v6 bool, port uint16, on bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := station{addr, port}
	if !addr.IsUnspecified() {
		j.listen(listener{s, false}, on)
	} else {
		s.addr = wire.Addr{}
		if v4 {
			j.listen(listener{s, false}, on)
		}
		if v6 {
			j.listen(listener{s, true}, on)
		}
	}
	j.update()
	return nil
}

func (j *Judge) listen(l listener, on bool) {
	switch {
	case on:
		j.listeners[l]++
	case j.listeners[l] > 1:
		j.listeners[l]--
	default:
		delete(j.listeners, l)
	}
}

// SetStation says which addresses are the port's own. SYNs for others are the kernel's.
func (j *Judge) SetStation(own []wire.Addr) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.own = own
	j.update()
}

// update makes the table what listeners and addresses ask for.
func (j *Judge) update() {
	if j.table == nil {
		return // closed
	}
	want := map[station]bool{}
	if !j.resting {
		j.want(want)
	}
	var add, remove []station
	for s := range want {
		if !j.installed[s] {
			add = append(add, s)
		}
	}
	for s := range j.installed {
		if !want[s] {
			remove = append(remove, s)
		}
	}
	if err := errors.Join(j.apply(remove, false), j.apply(add, true)); err != nil && j.cfg.Failed != nil {
		j.cfg.Failed(fmt.Errorf("netfilter: table %s: %w", j.table.name, err))
	}
}

// want adds to set what the table is to have.
func (j *Judge) want(set map[station]bool) {
	for l := range j.listeners {
		for _, a := range j.own {
			if l.addr == a || l.addr == (wire.Addr{}) && l.v6 != a.Is4() {
				if len(set) == maxListeners {
					return
				}
				set[station{a, l.port}] = true
			}
		}
	}
}

// apply makes one change of the table, in parts.
func (j *Judge) apply(list []station, on bool) error {
	for len(list) > 0 {
		part := list[:min(len(list), maxElements)]
		list = list[len(part):]
		if err := j.table.listeners(part, on); err != nil {
			return err
		}
		for _, s := range part {
			if on {
				j.installed[s] = true
			} else {
				delete(j.installed, s)
			}
		}
	}
	return nil
}

// Close takes the table away: SYNs are the kernel's. Precondition: no worker asks any more.
func (j *Judge) Close() error {
	var errs []error
	j.mu.Lock()
	if j.table != nil {
		errs = append(errs, j.table.socket.close())
		j.table = nil
	}
	j.mu.Unlock()
	select {
	case <-j.quit:
	default:
		close(j.quit)
	}
	if j.reports != nil {
		errs = append(errs, j.reports.Close())
		j.reports = nil
	}
	j.running.Wait()
	for _, o := range j.workers {
		errs = append(errs, o.close())
	}
	j.workers = nil
	return errors.Join(errs...)
}
