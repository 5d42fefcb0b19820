package server

import (
	"errors"
	"sync/atomic"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
)

// What clients may have is counted by users: one who runs many programs, or one program many times, has no more
// than one who runs few. Root has no quota.

// account is what the programs of one user have.
type account struct {
	root    bool
	memory  int64        // octets of memory files; under Server.mu
	sockets atomic.Int64 // any thread
	// used says until when the user's opens have used up what a second brings, as a time in nanoseconds: an open
	// moves it on by the time that one takes at the rate allowed, and may not move it more than a second ahead.
	used atomic.Int64
}

// errOverMemory means that a user has as much memory as he may.
var errOverMemory = errors.New("the user has as much memory on the TOE as he may: clients.user_memory")

// accountOf returns the account of a user. Precondition: mu is held.
func (s *Server) accountOf(uid uint32) *account {
	a := s.accounts[uid]
	if a == nil {
		a = &account{root: uid == 0}
		s.accounts[uid] = a
	}
	return a
}

// grant returns how many octets of chunks a new client gets on a device with n workers: fewer when the user's
// quota has no more; ok is false when it has too little. Precondition: Server.mu is held.
func (a *account) grant(cfg *Config, n int) (octets int64, ok bool) {
	if a.root || cfg.UserMemory == 0 {
		return cfg.Memory, true
	}
	least := cfg.geometry(n, 0)
	chunks := int64(least.Chunks-1) * shm.ChunkBytes
	room := cfg.UserMemory - a.memory - int64(least.Bytes()) + chunks
	return min(cfg.Memory, room), room >= chunks
}

// take counts one more socket, if the user may have it. [any thread]
func (a *account) take(cfg *Config) bool {
	if n := a.sockets.Add(1); a.root || cfg.UserSockets == 0 || n <= int64(cfg.UserSockets) {
		return true
	}
	a.sockets.Add(-1)
	return false
}

// full reports whether the user may have no socket beside n that are about to be. [any thread]
func (a *account) full(cfg *Config, n int) bool {
	return !a.root && cfg.UserSockets != 0 && a.sockets.Load()+int64(n) >= int64(cfg.UserSockets)
}

// give counts one socket less. [any thread]
func (a *account) give() { a.sockets.Add(-1) }

// open is take for one that the user opens, of which he may have so many a second. [any thread]
func (a *account) open(cfg *Config, now vtime.Time) bool {
	if !a.take(cfg) {
		return false
	}
	if a.root || cfg.UserOpens == 0 {
		return true
	}
	const second = int64(1e9)
	one := second / int64(cfg.UserOpens)
	for {
		used := a.used.Load()
		next := max(used, int64(now)) + one
		if next > int64(now)+second {
			a.give()
			return false
		}
		if a.used.CompareAndSwap(used, next) {
			return true
		}
	}
}
