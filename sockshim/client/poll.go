package client

import (
	"context"
	"sync/atomic"
	"time"

	"opentoe/sockshim/shm"
)

// poll hands the event queue's news to the sockets until the client ends. It sleeps as toe_shm.h
// says: declare, look again, block.
func (c *session) poll() {
	buf := make([]byte, 8)
	for {
		c.drainEvents()
		atomic.StoreUint32(&c.eq.Sleeping, 1)
		if !c.eq.Empty() {
			atomic.StoreUint32(&c.eq.Sleeping, 0)
			continue
		}
		if _, err := c.events.Read(buf); err != nil {
			return
		}
		if c.lost() {
			c.wakeAll()
		}
	}
}

func (c *session) drainEvents() {
	if atomic.LoadUint32(&c.eq.Overflow) != 0 {
		atomic.StoreUint32(&c.eq.Overflow, 0)
		c.wakeAll()
	}
	for slot := c.eq.Pop(); slot != 0; slot = c.eq.Pop() {
		if int(slot) >= len(c.region.Slots) {
			continue
		}
		atomic.AndUint64(&c.region.Slots[slot].EqPending, ^c.eqBit)
		c.mu.Lock()
		s := c.socks[slot]
		c.mu.Unlock()
		if s != nil {
			s.news()
		}
	}
}

// wakeAll has every socket look at its slot.
func (c *session) wakeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for slot, s := range c.socks {
		atomic.AndUint64(&c.region.Slots[slot].EqPending, ^c.eqBit)
		s.news()
	}
}

// slotPatience is how long an open waits for a slot when none is lent; toed lends each turn. After it has
// waited in vain nobody waits for slotDespair.
const (
	slotPatience = 5 * time.Millisecond
	slotLook     = 50 * time.Microsecond
	slotDespair  = 100 * time.Millisecond
)

// takeSlot takes a slot of the worker out of the loan; ok is false when there is none.
func (c *session) takeSlot(ctx context.Context, worker int) (slot uint32, ok bool) {
	var until time.Time
	for {
		if slot = c.region.SlotLoans[worker].Take(); slot != 0 {
			return slot, int(slot) < len(c.region.Slots)
		}
		now := time.Now()
		if until.IsZero() && now.UnixNano() >= c.patientAt.Load() {
			until = now.Add(slotPatience)
		}
		if until.IsZero() || ctx.Err() != nil || c.lost() {
			return 0, false
		}
		if now.After(until) {
			c.patientAt.Store(now.Add(slotDespair).UnixNano())
			return 0, false
		}
		time.Sleep(slotLook)
	}
}

// adopt makes s known to the poller and asks for its events.
func (c *session) adopt(s *sock) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.socks[s.slot] = s
	atomic.OrUint64(&s.p.EqMask, c.eqBit)
	return true
}

// forget undoes adopt, before the slot goes back to toed. When another socket has the slot already, it
// does nothing.
func (c *session) forget(s *sock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.socks[s.slot] == s {
		if !c.eqShared {
			atomic.AndUint64(&s.p.EqMask, ^c.eqBit)
		}
		delete(c.socks, s.slot)
	}
}

// post sends a command for the socket.
func (s *sock) post(op uint8, arg uint32) {
	s.c.post(int(s.p.Worker), shm.Command{Op: op, Slot: s.slot, Arg: arg})
}

// postOnce sends a command that stands for a cursor: one that is not drained yet says it all.
func (s *sock) postOnce(op uint8) {
	if atomic.OrUint32(&s.p.CmdPending, 1<<op)&(1<<op) == 0 {
		s.post(op, 0)
	}
}
