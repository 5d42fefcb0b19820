package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// nfnetlink_log: the packets that rules report to a group come to the one socket that is bound to it.

// Messages, commands and attributes of linux/netfilter/nfnetlink_log.h.
const (
	logPacket, logConfig = 0, 1

	logCommand, logMode, logAlloc, logThreshold = 1, 2, 3, 5
	logBind, logCopyPacket                      = 1, 2

	logOutDev, logPayload = 5, 9
)

// openReports returns a socket, which does not block, for a group that nobody has, with the group.
func openReports() (s *socket, group uint16, err error) {
	if s, err = openSocket(); err != nil {
		return nil, 0, err
	}
	for i := range uint16(groups) {
		group = firstGroup + i
		if err = s.bindGroup(group); err == nil {
			err = unix.SetNonblock(s.fd, true) // from now on it is only read
		}
		if err == nil {
			return s, group, nil
		}
		// EPERM, when another socket has the group; without CAP_NET_ADMIN as well.
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EPERM) {
			break
		}
	}
	return nil, 0, errors.Join(fmt.Errorf("nfnetlink_log: %w", err), s.close())
}

// bindGroup asks for whole packets of a group, each at once.
func (s *socket) bindGroup(group uint16) error {
	configure := func(a attributes) error {
		b := s.message(nil, unix.NFNL_SUBSYS_ULOG<<8|logConfig, unix.NLM_F_ACK, unix.AF_UNSPEC, group, a)
		return s.exchange(b, s.seq, 1)
	}
	if err := configure(attributes(nil).add(logCommand, []byte{logBind})); err != nil {
		return err
	}
	if err := configure(attributes(nil).add(logMode, []byte{0, 0, 0xff, 0xff, logCopyPacket, 0}).
		u32(logAlloc, reportAlloc).u32(logThreshold, 1)); err != nil {
		return err
	}
	return unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, reportBuffer)
}

// reported calls f for every packet in b, which was read from the socket of a group, with the interface by
// which it leaves (0: it does not).
func reported(b []byte, f func(packet []byte, out uint32)) {
	eachMessage(b, func(kind uint16, _ uint32, body []byte) {
		if kind != unix.NFNL_SUBSYS_ULOG<<8|logPacket || len(body) < nfgenLen {
			return
		}
		var packet []byte
		var out uint32
		each(body[nfgenLen:], func(kind uint16, v []byte) {
			switch {
			case kind == logPayload:
				packet = v
			case kind == logOutDev && len(v) == 4:
				out = binary.BigEndian.Uint32(v)
			}
		})
		if packet != nil {
			f(packet, out)
		}
	})
}
