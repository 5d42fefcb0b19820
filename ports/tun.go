package ports

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// tapOutput shows frames on a Linux interface: tcpdump and Wireshark need to know nothing of the
// TOE. Pending frames stand behind their length in the buffer; each is one write to the device.
type tapOutput struct{ file *os.File }

// AddInterface makes the interface name, on which every sniffer of the machine sees the frames of
// both directions as if they came in there. It disappears when the sink is closed. mtu is only
// shown; longer frames pass too. Needs CAP_NET_ADMIN.
//
// The interface takes no part in networking: no addresses, no ARP, no IPv6, and broadcasts fail the
// strict reverse-path check instead of reaching programs a second time.
func (m *Mirror) AddInterface(name string, mtu int, o SinkOptions) (*Sink, error) {
	file, err := openTAP(name, mtu)
	if err != nil {
		return nil, fmt.Errorf("ports: mirror: interface %q: %w", name, err)
	}
	s, err := m.add(o, func(s *Sink) output {
		s.owned = file
		return &tapOutput{file}
	})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return s, nil
}

// openTAP makes the interface and brings it up. It exists as long as the file is open.
func openTAP(name string, mtu int) (*os.File, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	// IFF_TUN_EXCL refuses an interface that is there already: it would be somebody else's.
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
	if err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		err = fmt.Errorf("TUNSETIFF: %w", err)
	} else {
		err = raiseTAP(name, mtu)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	// Not earlier: the runtime's poller cannot wait for the file before it is an interface.
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}

// raiseTAP sets up the interface and brings it up.
func raiseTAP(name string, mtu int) error {
	// Before it comes up, or the kernel starts autoconfiguration. Without IPv6 there is no such file.
	for _, path := range []string{
		"/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6",
		"/proc/sys/net/ipv4/conf/" + name + "/rp_filter",
	} {
		if err := os.WriteFile(path, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint32(uint32(mtu))
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, ifr); err != nil {
		return fmt.Errorf("set mtu %d: %w", mtu, err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_NOARP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	return nil
}

func (t *tapOutput) head(b []byte) []byte                { return b }
func (t *tapOutput) tail(b []byte, _ []SinkStats) []byte { return b }
func (t *tapOutput) room(n int) int                      { return 4 + n }

func (t *tapOutput) frame(b []byte, r *record, _ int64, _ uint64) []byte {
	return append(binary.NativeEndian.AppendUint32(b, uint32(len(r.data))), r.data...)
}

func (t *tapOutput) write(b []byte) error {
	for len(b) > 0 {
		n := binary.NativeEndian.Uint32(b)
		// The interface may be down or gone for a moment: frames are lost then, as on any wire.
		if _, err := t.file.Write(b[4 : 4+n]); err != nil && !isTransient(err) {
			return err
		}
		b = b[4+n:]
	}
	return nil
}

func isTransient(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) ||
		errors.Is(err, unix.EINVAL)
}
