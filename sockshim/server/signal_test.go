package server

import (
	"os"
	"os/signal"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/toe"
)

// A client is signalled for what it has asked, and for nothing else.
func TestSignals(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	heard := make(chan os.Signal, 16)
	signal.Notify(heard, unix.SIGIO)
	defer signal.Stop(heard)
	ask := func(bits uint64) {
		atomic.StoreUint64(&p.ReqValue, bits)
		r.post(0, shm.OpSetTCBField, slot, shm.OptSignals)
		r.dev.iterate()
	}
	urgent := func(pos uint64) uint64 {
		r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventUrgent, Pos: pos})
		r.dev.iterate()
		return r.srv.Counters().ProcessSignals
	}
	require.Zero(t, urgent(1), "nobody has asked")
	ask(shm.SignalURG | 1<<7)
	require.EqualValues(t, 1, urgent(2))
	require.EqualValues(t, 1, urgent(2), "the mark has not moved")
	ask(shm.SignalIO)
	require.Greater(t, urgent(3), uint64(1))
	require.Equal(t, unix.SIGIO, <-heard)
	ask(0)
	sent := r.srv.Counters().ProcessSignals
	require.Equal(t, sent, urgent(4))

	ask(shm.SignalURG)
	sh, n := r.srv.layer.find(c.sock)
	sh.sock(n).signalTo.pidfd.Store(-1) // as when it has gone
	require.Equal(t, sent, urgent(5))
	require.Zero(t, sh.sock(n).signals)
}

// A process that has become another user's is not signalled for who asked before: so a program that anybody
// may start with the rights of root is safe from them.
func TestSignalsKeepToTheUser(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	heard := make(chan os.Signal, 16)
	signal.Notify(heard, unix.SIGIO)
	defer signal.Stop(heard)
	atomic.StoreUint64(&r.mem.Slots[slot].ReqValue, shm.SignalIO)
	r.post(0, shm.OpSetTCBField, slot, shm.OptSignals)
	r.dev.iterate()
	sh, n := r.srv.layer.find(c.sock)
	owner := sh.sock(n).signalTo
	uid := owner.cred.Uid
	owner.cred.Uid = uint32(os.Getuid()) + 1
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventUrgent, Pos: 1})
	r.dev.iterate()
	require.Zero(t, r.srv.Counters().ProcessSignals)
	require.Zero(t, sh.sock(n).signals)
	owner.cred.Uid = uint32(os.Getuid())
	require.True(t, owner.mayBeSignalled(&sh.w.stat))
	owner.cred.Uid = uid
}
