package server

import (
	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
)

// Signals of sockets: SIGURG and SIGIO for programs that have asked for them by F_SETOWN and O_ASYNC. A
// process is signalled only for what it has asked itself, whoever else holds the socket.

// setSignals notes what the client that has region from wants to hear of slot n; zero: nothing more. What
// another client asked for is replaced: a socket has one owner.
func (sh *share) setSignals(n uint32, from *region, bits int64) {
	s := sh.sock(n)
	if s.state != sockOpening && s.state != sockOpen && s.state != sockListen {
		return
	}
	s.signals = uint8(bits & (shm.SignalURG | shm.SignalIO))
	s.signalTo, s.urgentDue = from.owner, false
}

// signal sends what is due for a change of s: SIGURG when the octets that came with the mark can be read, so
// that the handler finds the urgent one if it has come. [worker]
func (sh *share) signal(s *sock) {
	if s.urgentDue && s.signals&shm.SignalURG != 0 {
		sh.raise(s, unix.SIGURG)
	}
	s.urgentDue = false
	if s.signals&shm.SignalIO != 0 {
		sh.raise(s, unix.SIGIO)
	}
}

// raise sends sig to the client that has asked for it. [worker]
func (sh *share) raise(s *sock, sig unix.Signal) {
	fd := s.signalTo.pidfd.Load()
	if fd < 0 || !s.signalTo.mayBeSignalled(&sh.w.stat) {
		s.signals, s.signalTo = 0, nil // it has gone, or is somebody else's now
		return
	}
	_ = unix.PidfdSendSignal(int(fd), sig, nil, 0) // a process that ends meanwhile needs none
	sh.w.stats.ProcessSignals++
}
