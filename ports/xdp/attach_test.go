package xdp

import (
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"opentoe/tcpoffload/wire"
)

func needRoot(t testing.TB) {
	if os.Geteuid() != 0 {
		t.Skip("XDP programs need root")
	}
}

// newWire makes a pair of interfaces with three queues each and returns one of them.
func newWire(t *testing.T) *netlink.LinkAttrs {
	needRoot(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("xdp%06x", rand.IntN(1<<24))
	attrs.NumRxQueues, attrs.NumTxQueues = 3, 3
	veth := netlink.NewVeth(attrs)
	veth.PeerName = attrs.Name + "p"
	require.NoError(t, netlink.LinkAdd(veth))
	t.Cleanup(func() { require.NoError(t, netlink.LinkDel(veth)) })
	return veth.Attrs()
}

// attached returns the identity of the program on an interface, 0 without one.
func attached(t *testing.T, name string) ebpf.ProgramID {
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	if x := l.Attrs().Xdp; x != nil && x.Attached {
		return ebpf.ProgramID(x.ProgId)
	}
	return 0
}

func identity(t *testing.T, p *ebpf.Program) ebpf.ProgramID {
	info, err := p.Info()
	require.NoError(t, err)
	id, ok := info.ID()
	require.True(t, ok)
	return id
}

func newClaims(t *testing.T) *Claims {
	c, err := NewClaims(1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// The driver has put its copy there; the steering takes its place, and leaves nothing.
func TestAttach(t *testing.T) {
	w := newWire(t)
	link, err := netlink.LinkByName(w.Name)
	require.NoError(t, err)
	object, name, err := Object()
	require.NoError(t, err)
	defer object.Close()
	spec, err := ebpf.LoadCollectionSpec(name)
	require.NoError(t, err)
	drivers, err := ebpf.NewCollection(spec)
	require.NoError(t, err)
	defer drivers.Close()
	require.NoError(t, netlink.LinkSetXdpFd(link, drivers.Programs[progSteer].FD()))
	require.Equal(t, identity(t, drivers.Programs[progSteer]), attached(t, w.Name))

	s, err := Attach(w.Name, nil, newClaims(t))
	require.NoError(t, err)
	require.Equal(t, identity(t, s.objects.Steer), attached(t, w.Name))

	_, err = Attach(w.Name, nil, newClaims(t))
	require.ErrorIs(t, err, syscall.EBUSY, "another toed has the interface")
	require.Equal(t, identity(t, s.objects.Steer), attached(t, w.Name))

	require.NoError(t, s.Close())
	require.Zero(t, attached(t, w.Name))
	require.NoError(t, s.Close())
	require.NoError(t, s.SetStation(station, nil), "the last changes of a port come while toed ends")
	s.Listen(wire.Addr{}, true, true, aPort, true) // late, and in vain
	verdicts, err := s.Verdicts()
	require.NoError(t, err)
	require.Zero(t, verdicts)
}

func TestAttachRespectsOthers(t *testing.T) {
	w := newWire(t)
	other, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "other", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.LoadImm(asm.R0, 2, asm.DWord), asm.Return()},
	})
	require.NoError(t, err)
	defer other.Close()
	link, err := netlink.LinkByName(w.Name)
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetXdpFd(link, other.FD()))
	_, err = Attach(w.Name, nil, newClaims(t))
	require.ErrorContains(t, err, "ip link set dev "+w.Name+" xdp off")
	require.Equal(t, identity(t, other), attached(t, w.Name))
}

func TestAttachNowhere(t *testing.T) {
	needRoot(t)
	_, err := Attach("no-such-if0", nil, newClaims(t))
	require.ErrorContains(t, err, "no-such-if0")
}

func TestVerdictNames(t *testing.T) {
	seen := map[string]bool{}
	for v := range NumVerdicts {
		seen[v.String()] = true
	}
	require.Len(t, seen, int(NumVerdicts))
	require.Equal(t, "unknown", NumVerdicts.String())
}
