package server

import (
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// layer is the upper layer of one attached device.
type layer struct {
	srv     *Server
	dev     toe.Device
	workers []*worker
	status  *shm.StatusPage
	stop    chan struct{} // ends what start has started
	errands errands
}

var _ toe.UpperLayer = (*layer)(nil)

// worker is what one device worker has. All of it belongs to the worker's thread.
type worker struct {
	id     int
	thread uint32 // the worker's thread id, for the slots' locks; 0 until its first sweep
	l      *layer
	dev    toe.Device

	active    []*share // polled in this order
	shares    []*share // by region number; nil where there is none
	listeners map[toe.ListenID]*listener

	wakes   []ref // sockets whose waiters have to be woken
	quiet   []ref // sockets that may hold a chunk for nothing: looked at when the worker is idle
	broken  []*share
	cookies *cookies // written by the worker, read by all

	signaller signaller

	turned   uint64     // Server.turned as last seen,
	turnedAt vtime.Time // and when it was first seen so

	now   vtime.Time         // of the poll under way, or of the last one
	creq  toe.ConnectRequest // scratch, so that passing its address allocates nothing
	query Query
	info  toe.ConnInfo
	stat  unix.Stat_t
	stats Counters
}

// ref names a slot of a share.
type ref struct {
	sh   *share
	slot uint32
}

// share is what one worker has of one region.
type share struct {
	w           *worker
	reg         *region
	mem         *shm.Region
	cmds        shm.CmdReader
	slots       shm.Pool
	chunks      shm.Pool
	slotLoan    shm.LoanWriter
	chunkLoan   shm.LoanWriter
	slotTarget  uint32 // numbers to keep lent
	chunkTarget uint32
	rxFloor     int // chunks that receiving leaves alone
	slotBase    uint32
	seen        atomic.Uint32 // slots that were ever used, counted from slotBase; the worker writes
	busy        int           // sockets that are not free or lent
	socks       []sock
	credit      []uint32 // slots whose writers wait for a chunk
	refill      bool     // a slot came back: the loan may want it
	names       []*share // of other regions whose slots commands of this queue may name
	dead        bool     // a violation was found; ended after the poll
	silent      bool     // nobody is attached, and all that was posted before has been heard
	declines    declines // of the region's client
	kept        []uint32 // connections kept back, the oldest first (defer.go)
	keeper      *time.Timer
	looking     bool // keeper is to run at lookAt
	lookAt      vtime.Time
	noteAt      vtime.Time // from then on, a SYN that finds no room is among them again
}

// start starts the goroutines that look after the workers until stop is closed.
func (l *layer) start() {
	l.stop = make(chan struct{})
	for _, w := range l.workers {
		go w.signaller.watch(l.stop)
	}
	go l.srv.keepTrim(l.stop)
	go l.srv.keepOrphans(l.stop)
}

// barrier waits until every worker has finished what it is doing.
func (l *layer) barrier() {
	for _, w := range l.workers {
		_ = l.dev.Do(w.id, func(vtime.Time) {})
	}
}

func newWorker(l *layer, id int) *worker {
	return &worker{
		id: id, l: l, dev: l.dev,
		listeners: map[toe.ListenID]*listener{},
		wakes:     make([]ref, 0, maxWakes),
		quiet:     make([]ref, 0, l.srv.cfg.Slots),
		cookies:   newCookies(),
		signaller: signaller{kick: make(chan struct{}, 1)},
	}
}

// newShare prepares worker w's share of reg. It does not touch w: [worker.adopt] does.
func newShare(w *worker, reg *region) *share {
	n := uint32(reg.mem.Workers)
	slots, chunks := uint32(reg.mem.Geometry.Slots-1)/n, uint32(reg.mem.Chunks-1)/n
	id := uint32(w.id)
	return &share{
		w: w, reg: reg, mem: reg.mem,
		cmds:        shm.NewCmdReader(&reg.mem.CmdQs[id]),
		slots:       shm.NewPool(1+id*slots, slots),
		chunks:      shm.NewPool(1+id*chunks, chunks),
		slotLoan:    shm.NewLoanWriter(&reg.mem.SlotLoans[id]),
		chunkLoan:   shm.NewLoanWriter(&reg.mem.ChunkLoans[id]),
		slotTarget:  min(lendSlots, max(slots/8, 1)),
		chunkTarget: min(lendChunks, max(chunks/8, 1)),
		rxFloor:     int(chunks) / rxKeep,
		slotBase:    1 + id*slots,
		socks:       make([]sock, slots),
		credit:      make([]uint32, 0, slots),
	}
}

// adopt makes sh part of its worker. [worker]
func (w *worker) adopt(sh *share) {
	id := int(sh.reg.id)
	if id >= len(w.shares) {
		w.shares = append(w.shares, make([]*share, id+1-len(w.shares))...)
	}
	w.shares[id] = sh
	w.active = append(w.active, sh)
	sh.topUp()
}

// share returns the worker's share of reg, or nil when it is not there (any more).
func (w *worker) share(reg *region) *share {
	if int(reg.id) < len(w.shares) && w.shares[reg.id] != nil && w.shares[reg.id].reg == reg {
		return w.shares[reg.id]
	}
	return nil
}

// remove ends the share of reg on this worker; its memory may be unmapped afterwards.
// Precondition: no socket of it lives. [worker]
func (w *worker) remove(reg *region) {
	sh := w.share(reg)
	if sh == nil {
		return
	}
	w.flushWakes()
	if sh.keeper != nil {
		sh.keeper.Stop()
	}
	w.shares[reg.id] = nil
	is := func(o *share) bool { return o == sh }
	w.active = slices.DeleteFunc(w.active, is)
	w.broken = slices.DeleteFunc(w.broken, is)
	w.quiet = slices.DeleteFunc(w.quiet, func(r ref) bool { return r.sh == sh })
	for _, o := range w.active {
		o.names = slices.DeleteFunc(o.names, is)
	}
}

// Poll drains the command queues of worker w.
func (l *layer) Poll(wi int, now vtime.Time) int {
	w := l.workers[wi]
	w.now = now
	if len(w.wakes) > 0 {
		w.flushWakes()
	}
	n := 0
	for _, sh := range w.active {
		if sh.deaf() {
			continue
		}
		if !sh.cmds.Empty() {
			n += sh.drainCommands(pollBudget)
		}
		if sh.refill || len(sh.credit) > 0 && sh.chunks.Avail() > 0 {
			sh.topUp()
		}
	}
	if len(w.broken) > 0 {
		w.endBroken()
	}
	if len(w.wakes) > 0 {
		w.flushWakes()
	}
	if len(w.quiet) > quietMax {
		w.sweep()
	}
	return n
}

// Sleep announces the sleep of worker w unless a queue is not empty. What idle sockets hold is
// given back first: this is the moment in which nobody waits for it.
func (l *layer) Sleep(wi int) bool {
	w := l.workers[wi]
	w.flushWakes()
	w.sweep()
	if len(w.quiet)+len(w.broken) > 0 {
		return false
	}
	sleeping := &l.status.Worker[wi].Sleeping
	atomic.StoreUint32(sleeping, 1)
	for _, sh := range w.active {
		if !sh.deaf() && (!sh.cmds.Empty() || len(sh.credit) > 0 && sh.chunks.Avail() > 0) {
			atomic.StoreUint32(sleeping, 0)
			return false
		}
	}
	return true
}

// Awake takes the announcement back.
func (l *layer) Awake(wi int) { atomic.StoreUint32(&l.status.Worker[wi].Sleeping, 0) }
