package xdp

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The poll-mode driver opens its sockets together with a program, which it attaches itself, for good: it
// would outlive a toed that is killed. It therefore gets this program for a start, which passes everything
// as long as it is not told of a station, and Attach puts a link in its place.

// Object returns a file with the program for the driver to load, and its name.
func Object() (f *os.File, name string, err error) {
	fd, err := unix.MemfdCreate("steer.o", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, "", fmt.Errorf("xdp: memory for the program: %w", err)
	}
	f = os.NewFile(uintptr(fd), "steer.o")
	if _, err = f.Write(_SteerBytes); err != nil {
		return nil, "", errors.Join(fmt.Errorf("xdp: %w", err), f.Close())
	}
	return f, fmt.Sprintf("/proc/self/fd/%d", fd), nil
}

// Clear takes the driver's copy of the program off the interface, also one that a toed which was killed as
// it started has left there, and returns the interface's index. Other programs stay: unix.EBUSY.
func Clear(iface string) (index int, err error) {
	l, err := netlink.LinkByName(iface)
	if err != nil {
		return 0, err
	}
	index = l.Attrs().Index
	x := l.Attrs().Xdp
	if x == nil || !x.Attached {
		return index, nil
	}
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(x.ProgId))
	if err != nil {
		return index, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return index, err
	}
	if info.Name != progSteer {
		return index, fmt.Errorf("XDP program %q: %w", info.Name, unix.EBUSY)
	}
	return index, netlink.LinkSetXdpFd(l, -1)
}
