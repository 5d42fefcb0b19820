package server

import (
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// ClientInfo describes one client process.
type ClientInfo struct {
	PID     int32
	UID     uint32
	Program string
	Region  uint32 // number of its region
	Bytes   uint64 // size of the region's memory file, most of it untouched
	Sockets int    // sockets in the region
	Chunks  int    // chunks in use, of shm.ChunkBytes each; lent ones not counted
}

// Clients lists the clients that have a region.
func (s *Server) Clients() []ClientInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []ClientInfo
	for c := range s.clients {
		if c.own == nil {
			continue
		}
		info := ClientInfo{
			PID: c.cred.Pid, UID: c.cred.Uid, Program: c.program,
			Region: c.own.id, Bytes: c.own.mem.Bytes(),
		}
		c.own.l.eachShare(c.own, func(sh *share) {
			info.Sockets += sh.busy
			info.Chunks += sh.chunksUsed()
		})
		list = append(list, info)
	}
	return list
}

// UserInfo is what the programs of one user have.
type UserInfo struct {
	UID                   uint32
	Clients               int // regions that they have, or have left sockets in
	Sockets               int
	Memory                int64 // octets of memory files, most of them untouched
	MaxClients            int   // 0: no limit; likewise below
	MaxSockets, OpensRate int
	MaxMemory             int64
}

// Users lists the users whose programs have something, by number.
func (s *Server) Users() []UserInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []UserInfo
	for _, uid := range slices.Sorted(maps.Keys(s.accounts)) {
		a := s.accounts[uid]
		u := UserInfo{UID: uid, Sockets: int(a.sockets.Load()), Memory: a.memory}
		if _, u.Clients = s.places(uid); u.Clients == 0 && u.Sockets == 0 {
			continue
		}
		if !a.root {
			u.MaxClients, u.MaxSockets = s.cfg.UserClients, s.cfg.UserSockets
			u.OpensRate, u.MaxMemory = s.cfg.UserOpens, s.cfg.UserMemory
		}
		list = append(list, u)
	}
	return list
}

// Usage is the memory that the server holds for clients.
type Usage struct {
	Clients, Regions, Sockets, Chunks int // chunks in use, lent ones not counted
}

// Usage returns it. When all clients have gone and their connections are over, all are zero.
func (s *Server) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := Usage{Clients: len(s.clients), Regions: len(s.regions)}
	for _, r := range s.regions {
		r.l.eachShare(r, func(sh *share) {
			u.Sockets += sh.busy
			u.Chunks += sh.chunksUsed()
		})
	}
	return u
}

// chunksUsed counts the chunks in use, lent ones not. How many those are the client says.
func (sh *share) chunksUsed() int {
	used := sh.chunks.Len() - sh.chunks.Avail()
	if lent, ok := sh.chunkLoan.Len(); ok {
		used = max(used-int(lent), 0)
	}
	return used
}

// SocketInfo describes one offloaded socket.
type SocketInfo struct {
	ID            toe.SockID
	State         string // RFC 9293 name
	Local, Remote netip.AddrPort
	Worker        int
	Region, Slot  uint32
	RecvQ, SendQ  uint64       // octets unread; written and not acknowledged. A listener: waiting, backlog
	V6, V6Only    bool         // the listener's socket is AF_INET6, and takes no IPv4
	Listener      toe.ListenID // 0: none, or one that is just opening
	PID           int32        // of the client that opened or accepted it; 0 when it waits for accept
	UID           uint32       // valid only with a PID
	Program       string
	Cookie        uint64
	Detached      bool          // no descriptor is left; the device delivers the rest
	Conn          *toe.ConnInfo // nil for listeners and ended connections
}

// Sockets lists the sockets of all clients.
func (s *Server) Sockets() []SocketInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []SocketInfo
	for _, r := range s.regions {
		r.l.eachSocket(r, func(sh *share, n uint32) { list = append(list, sh.socketInfo(n)) })
	}
	return list
}

// eachSocket runs f for every socket of a region, on the socket's worker; for so many slots in a turn of it.
func (l *layer) eachSocket(r *region, f func(sh *share, n uint32)) {
	for _, sh := range r.shares {
		for from := uint32(0); from < sh.seen.Load(); from += listBatch {
			l.on(sh, func() {
				for i := from; i < min(from+listBatch, sh.seen.Load()); i++ {
					if n := sh.slotBase + i; sh.sock(n).state >= sockListening {
						f(sh, n)
					}
				}
			})
		}
	}
}

// eachShare runs f for the region's share of every worker, on the worker.
func (l *layer) eachShare(r *region, f func(*share)) {
	for _, sh := range r.shares {
		l.on(sh, func() { f(sh) })
	}
}

// on runs f on the worker of sh, if sh is still the worker's.
func (l *layer) on(sh *share, f func()) {
	_ = l.dev.Do(sh.w.id, func(vtime.Time) {
		if sh.w.share(sh.reg) == sh {
			f()
		}
	})
}

func (sh *share) socketInfo(n uint32) SocketInfo {
	s, p := sh.sock(n), sh.slot(n)
	info := SocketInfo{
		ID: sh.id(n), Worker: sh.w.id, Region: sh.reg.id, Slot: n, Cookie: s.cookie,
		RecvQ: s.rxProd - min(s.rxProd, atomic.LoadUint64(&p.RxCons)), SendQ: s.txProd - s.txCons,
		Detached: !s.held,
		Local:    netip.AddrPortFrom(wire.Addr(p.LocalAddr).Netip(), p.LocalPort),
		Remote:   netip.AddrPortFrom(wire.Addr(p.RemoteAddr).Netip(), p.RemotePort),
	}
	if s.owner != nil {
		c := s.owner.owner
		info.PID, info.UID, info.Program = c.cred.Pid, c.cred.Uid, c.program
	}
	switch {
	case s.state == sockListen || s.state == sockListening:
		info.State = "LISTEN"
		if s.listener != nil {
			info.RecvQ, info.SendQ = uint64(s.listener.queued.Load()), uint64(s.listener.backlog)
			info.V6, info.V6Only, info.Listener = s.listener.v6, s.listener.v6only, s.listener.id
		}
	case s.tid != 0:
		var ci toe.ConnInfo
		if sh.w.dev.ConnInfo(s.tid, &ci) {
			info.State, info.Conn = ci.State, &ci
			info.Local, info.Remote = ci.Flow.LocalAddrPort(), ci.Flow.RemoteAddrPort()
		}
	default:
		info.State = "CLOSED"
	}
	return info
}
