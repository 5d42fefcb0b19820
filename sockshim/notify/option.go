package notify

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// tcpAOAddKey is TCP_AO_ADD_KEY (Linux 6.7).
const tcpAOAddKey = 38

// maxOption is the largest value of an option that is passed on.
const maxOption = 4096

// option is one that a socket was told.
type option struct {
	level, name int
	value       []byte
}

// heirlooms are the options of a listener that its connections have besides those that toed is told of.
var heirlooms = [...]struct{ level, name int }{
	{unix.SOL_SOCKET, unix.SO_REUSEADDR}, {unix.SOL_SOCKET, unix.SO_OOBINLINE}, {unix.SOL_SOCKET, unix.SO_RCVLOWAT},
	{unix.SOL_SOCKET, unix.SO_RCVTIMEO}, {unix.SOL_SOCKET, unix.SO_SNDTIMEO}, {unix.SOL_SOCKET, unix.SO_LINGER},
	{unix.SOL_SOCKET, unix.SO_PEEK_OFF}, {unix.IPPROTO_TCP, unix.TCP_SYNCNT},
}

// inherited returns what the listening kernel socket fd was told of those.
func inherited(fd int) (list []option) {
	for _, h := range heirlooms {
		var b [16]byte
		n, err := getOption(fd, h.level, h.name, b[:])
		if err == nil {
			list = append(list, option{h.level, h.name, b[:n:n]})
		}
	}
	return list
}

// ofTheFile are the options that act on the descriptor that the program has, not on the connection.
var ofTheFile = [...]int{
	unix.SO_RCVTIMEO, unix.SO_SNDTIMEO, unix.SO_RCVTIMEO_NEW, unix.SO_SNDTIMEO_NEW, unix.SO_RCVLOWAT, unix.SO_PEEK_OFF,
}

func isOfTheFile(level, name int) bool {
	if level != unix.SOL_SOCKET {
		return false
	}
	for _, o := range ofTheFile {
		if o == name {
			return true
		}
	}
	return false
}

// kernelOnly says which options nobody but the kernel can honour: a socket that has one before it is opened
// stays there, one of the TOE's cannot have it.
func kernelOnly(level, name int) bool {
	switch level {
	case unix.IPPROTO_TCP:
		switch name {
		case unix.TCP_MD5SIG, unix.TCP_MD5SIG_EXT, tcpAOAddKey, unix.TCP_REPAIR, unix.TCP_ULP,
			unix.TCP_ZEROCOPY_RECEIVE, unix.TCP_FASTOPEN_KEY, unix.TCP_INQ:
			return true
		}
	case unix.SOL_SOCKET:
		switch name {
		case unix.SO_ZEROCOPY, unix.SO_BINDTODEVICE, unix.SO_BINDTOIFINDEX, unix.SO_MARK, unix.SO_TIMESTAMPING,
			unix.SO_TIMESTAMPING_NEW, unix.SO_ATTACH_FILTER, unix.SO_ATTACH_BPF, unix.SO_ATTACH_REUSEPORT_CBPF,
			unix.SO_ATTACH_REUSEPORT_EBPF:
			return true
		}
	case unix.IPPROTO_IP:
		return name == unix.IP_RECVERR
	case unix.IPPROTO_IPV6:
		return name == unix.IPV6_RECVERR
	}
	return false
}

// readOption reads what setsockopt was given.
func (s *Supervisor) readOption(n *notification) (level, name int, value []byte, err error) {
	size := int(int32(n.args[4]))
	if size < 0 || size > maxOption {
		return 0, 0, nil, unix.EINVAL
	}
	value = make([]byte, size)
	if peek(n.pid, n.args[3], value) != nil {
		return 0, 0, nil, errFault
	}
	return int(int32(n.args[1])), int(int32(n.args[2])), value, idValid(s.fd, n.id)
}

// setOption sets an option where it acts: in the kernel's socket, which checks and keeps it, in the
// program's end fd, on the TOE.
func (c *conn) setOption(n *notification, fd int) error {
	level, name, value, err := c.s.readOption(n)
	if err != nil {
		return err
	}
	if kernelOnly(level, name) {
		return c.refuse(level, name, value)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if level == unix.IPPROTO_TCP && (name == unix.TCP_FASTOPEN || name == unix.TCP_FASTOPEN_CONNECT || name == unix.TCP_FASTOPEN_NO_COOKIE) {
		return unix.EINVAL
	}
	if c.kernel < 0 {
		return c.blank(func(k int) error { return setOption(k, level, name, value) })
	}
	if level == unix.IPPROTO_TCP && name == unix.TCP_CONGESTION {
		return c.setCongestion(value)
	}
	if err := setOption(c.kernel, level, name, value); err != nil {
		return err
	}
	if isOfTheFile(level, name) {
		return setOption(fd, level, name, value)
	}
	if len(value) >= 4 {
		_ = c.toe.Set(level, name, int(int32(binary.NativeEndian.Uint32(value)))) // the connection's end tells of itself
	}
	return nil
}

// refuse answers setsockopt of an option that only the kernel honours: what is wrong with the value, nothing if that
// leaves the option as it is, else ENOPROTOOPT.
func (c *conn) refuse(level, name int, value []byte) error {
	if level == unix.IPPROTO_TCP && name == unix.TCP_ULP && len(value) > 0 {
		return unix.ENOENT // as a kernel that lacks it
	}
	err := c.blank(func(k int) error { return setOption(k, level, name, value) })
	if err == nil && !bytes.Equal(value, make([]byte, len(value))) {
		err = unix.ENOPROTOOPT
	}
	return err
}

// setCongestion asks toed for an algorithm; the kernel need not have it. Precondition: mu is held.
func (c *conn) setCongestion(value []byte) error {
	if len(value) == 0 {
		return unix.EINVAL
	}
	name := unix.ByteSliceToString(value)
	if err := c.toe.SetCongestion(name); err != nil {
		return unix.ENOENT
	}
	_ = unix.SetsockoptString(c.kernel, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) // as far as it can
	return nil
}

// getOption answers getsockopt.
func (c *conn) getOption(n *notification, fd int) error {
	level, name := int(int32(n.args[1])), int(int32(n.args[2]))
	if level == unix.SOL_SOCKET && name == unix.SO_PEERNAME && c.connected() {
		return c.peerName(n)
	}
	value, err := c.option(level, name, fd)
	if err != nil {
		return err
	}
	if value != nil {
		return c.s.answerValue(n, value)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kernel < 0 {
		return c.blank(func(k int) error { return answerOption(n, k) })
	}
	return answerOption(n, c.kernel)
}

// peerName answers SO_PEERNAME, which takes no more room than the name has.
func (c *conn) peerName(n *notification) error {
	name := address(c.domain, c.remote())
	size, err := optionRoom(n)
	if err == nil && size > len(name) {
		err = unix.EINVAL
	}
	if err != nil {
		return err
	}
	return putOption(n, name[:size], uint32(size))
}

// option returns what the connection itself knows; nil: ask the kernel's socket.
func (c *conn) option(level, name, fd int) ([]byte, error) {
	switch {
	case level == unix.SOL_SOCKET && name == unix.SO_ERROR:
		return binary.NativeEndian.AppendUint32(nil, uint32(c.takeError(fd))), nil
	case isOfTheFile(level, name) && name == unix.SO_PEEK_OFF:
		v, err := unix.GetsockoptInt(fd, level, name)
		return binary.NativeEndian.AppendUint32(nil, uint32(v)), err
	case level == unix.IPPROTO_TCP && (name == unix.TCP_ZEROCOPY_RECEIVE || name == unix.TCP_FASTOPEN_KEY):
		return nil, unix.ENOPROTOOPT
	case !c.asked(level, name):
		return nil, nil
	}
	info, err := c.toe.Info()
	if err != nil {
		return nil, nil // it is over
	}
	switch {
	case level == unix.SOL_SOCKET:
		b := []byte{}
		for _, v := range info.Memory {
			b = binary.NativeEndian.AppendUint32(b, v)
		}
		return b, nil
	case level != unix.IPPROTO_TCP && info.PathMTU != 0:
		return binary.NativeEndian.AppendUint32(nil, info.PathMTU), nil
	case level == unix.IPPROTO_TCP && name == unix.TCP_INFO:
		return info.TCP, nil
	case level == unix.IPPROTO_TCP && name == unix.TCP_MAXSEG:
		return info.TCP[16:20], nil // tcpi_snd_mss
	case level == unix.IPPROTO_TCP && info.Congestion != "":
		return append([]byte(info.Congestion), make([]byte, 16-len(info.Congestion))...), nil
	}
	return nil, nil
}

// asked says whether an option's truth is with toed and costs a question.
func (c *conn) asked(level, name int) bool {
	switch level {
	case unix.IPPROTO_TCP:
		return name == unix.TCP_INFO || name == unix.TCP_CONGESTION || name == unix.TCP_MAXSEG
	case unix.IPPROTO_IP:
		return name == unix.IP_MTU
	case unix.IPPROTO_IPV6:
		return name == unix.IPV6_MTU
	}
	return level == unix.SOL_SOCKET && name == unix.SO_MEMINFO
}

// takeError returns SO_ERROR, and takes it. Of a failed connection the program's end fd has an error of its own, which
// tells whether the program has met it yet.
func (c *conn) takeError(fd int) unix.Errno {
	native, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.pending
	c.pending = 0
	switch {
	case err != nil || native == 0:
		return 0
	case e != 0:
		return e
	}
	return unix.Errno(native)
}

func (c *conn) gone() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.kernel < 0 }

// blank calls f with a TCP socket that is nothing yet, which answers as one that is over does.
func (c *conn) blank(f func(k int) error) error {
	fd, err := unix.Socket(c.domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd)
}

// answerOption answers getsockopt by that of another socket.
func answerOption(n *notification, fd int) error {
	size, err := optionRoom(n)
	if err != nil {
		return err
	}
	value := make([]byte, min(size, maxOption))
	// Options that take what they answer about from the value.
	if err := peek(n.pid, n.args[3], value); err != nil {
		return errFault
	}
	l, err := getOption(fd, int(int32(n.args[1])), int(int32(n.args[2])), value)
	if err != nil {
		return err
	}
	return putOption(n, value[:min(int(l), len(value))], l)
}

// answerValue answers getsockopt, cut to the caller's room as the kernel does.
func (s *Supervisor) answerValue(n *notification, value []byte) error {
	size, err := optionRoom(n)
	if err != nil {
		return err
	}
	value = value[:min(size, len(value))]
	return putOption(n, value, uint32(len(value)))
}

func optionRoom(n *notification) (int, error) {
	var b [4]byte
	if peek(n.pid, n.args[4], b[:]) != nil {
		return 0, errFault
	}
	size := int32(binary.NativeEndian.Uint32(b[:]))
	if size < 0 {
		return 0, unix.EINVAL
	}
	return int(size), nil
}

func putOption(n *notification, value []byte, size uint32) error {
	if poke(n.pid, n.args[3], value) != nil || poke(n.pid, n.args[4], binary.NativeEndian.AppendUint32(nil, size)) != nil {
		return errFault
	}
	return nil
}
