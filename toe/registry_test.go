package toe

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// fakeDevice records what the registry asks of it.
type fakeDevice struct {
	BaseDevice
	name     string
	prefixes []netip.Prefix
	attach   error
	up       UpperLayer
	offload  Reason
	listen   Reason
	kernel   bool     // its addresses are the kernel's
	last     Listener // that was started
	set      []Option // of listeners
	started  []ListenID
	stopped  []ListenID
	blocked  chan struct{} // if not nil, Attach waits for it
}

func (d *fakeDevice) Name() string { return d.name }
func (d *fakeDevice) Info() Info {
	return Info{Type: "fake", Workers: 1, Ports: []PortInfo{{Prefixes: d.prefixes, Kernel: d.kernel}}}
}
func (d *fakeDevice) Attach(up UpperLayer) error {
	if d.blocked != nil {
		<-d.blocked
	}
	if d.attach == nil {
		d.up = up
	}
	return d.attach
}
func (d *fakeDevice) Detach() error                       { d.up = nil; return nil }
func (d *fakeDevice) CanOffload(r *ConnectRequest) Reason { return d.offload }
func (d *fakeDevice) ListenStop(id ListenID)              { d.stopped = append(d.stopped, id) }
func (d *fakeDevice) ListenStart(l *Listener) Reason {
	if d.listen == Offloaded {
		d.started, d.last = append(d.started, l.ID), *l
	}
	return d.listen
}

func (d *fakeDevice) ListenOption(_ ListenID, o Option, _ int64) error {
	d.set = append(d.set, o)
	return nil
}

// fakeLayer gives every device an upper layer of its own.
type fakeLayer struct {
	fail     error
	attached map[string]*fakeUpper
	detached []string
}

type fakeUpper struct{ UpperLayer }

func (l *fakeLayer) Attach(dev Device) (UpperLayer, error) {
	if l.fail != nil {
		return nil, l.fail
	}
	up := &fakeUpper{}
	l.attached[dev.Name()] = up
	return up, nil
}

func (l *fakeLayer) Detach(dev Device) {
	delete(l.attached, dev.Name())
	l.detached = append(l.detached, dev.Name())
}

func newFakes(t *testing.T) (*Registry, *fakeLayer, *fakeDevice, *fakeDevice) {
	r := NewRegistry()
	layer := &fakeLayer{attached: map[string]*fakeUpper{}}
	a := &fakeDevice{name: "toe0", prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}
	b := &fakeDevice{name: "toe1", prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.1/24"),
		netip.MustParsePrefix("fd00::1/64")}}
	require.NoError(t, r.Register(a))
	require.NoError(t, r.Register(b))
	require.NoError(t, r.RegisterSocketLayer(layer))
	return r, layer, a, b
}

func addr(s string) wire.Addr { return wire.AddrFrom(netip.MustParseAddr(s)) }

func TestActivation(t *testing.T) {
	r, layer, a, b := newFakes(t)
	require.ErrorIs(t, r.Register(a), ErrExists)
	require.ErrorIs(t, r.Register(&fakeDevice{}), ErrInvalid)
	require.ErrorIs(t, r.Activate("toe9"), ErrNotFound)
	require.ErrorIs(t, r.Deactivate("toe0"), ErrDetached)

	require.NoError(t, r.Activate("toe0"))
	require.Same(t, layer.attached["toe0"], a.up)
	require.ErrorIs(t, r.Activate("toe0"), ErrBusy)
	require.ErrorIs(t, r.Unregister("toe0"), ErrBusy)
	require.ErrorIs(t, r.RegisterSocketLayer(nil), ErrBusy)
	require.Equal(t, []DeviceStatus{{a, true}, {b, false}}, r.Devices())

	require.NoError(t, r.Deactivate("toe0"))
	require.Nil(t, a.up)
	require.Equal(t, []string{"toe0"}, layer.detached)
	require.NoError(t, r.Unregister("toe0"))
	require.ErrorIs(t, r.Activate("toe0"), ErrNotFound)
}

func TestActivationThatFailsChangesNothing(t *testing.T) {
	r, layer, a, _ := newFakes(t)
	a.attach = errors.New("no queue")
	require.ErrorIs(t, r.Activate("toe0"), a.attach)
	require.Equal(t, []string{"toe0"}, layer.detached, "the socket layer must hear of it")
	_, reason := r.Route(&ConnectRequest{})
	require.Equal(t, ReasonNoDevice, reason)

	layer.fail = errors.New("no memory")
	require.ErrorIs(t, r.Activate("toe0"), layer.fail)
	require.NoError(t, r.RegisterSocketLayer(nil))
	require.ErrorIs(t, r.Activate("toe0"), ErrNoSocketLayer)
	require.NoError(t, r.Unregister("toe0"))
}

func TestListenersFollowDevices(t *testing.T) {
	r, _, a, b := newFakes(t)
	everywhere := &Listener{Port: 80}
	require.Equal(t, ReasonNoDevice, r.ListenStart(everywhere))
	require.Zero(t, everywhere.ID)

	require.NoError(t, r.Activate("toe0"))
	only := &Listener{Port: 81, Addr: addr("10.0.0.1")}
	require.Equal(t, Offloaded, r.ListenStart(everywhere))
	require.Equal(t, Offloaded, r.ListenStart(only))
	require.Equal(t, []ListenID{everywhere.ID, only.ID}, a.started)
	require.NotEqual(t, everywhere.ID, only.ID)

	require.NoError(t, r.Activate("toe1"), "replays the wildcard only")
	require.Equal(t, []ListenID{everywhere.ID}, b.started)

	six := &Listener{Port: 82, Addr: addr("fd00::1"), V6: true}
	require.Equal(t, Offloaded, r.ListenStart(six))
	require.Equal(t, []ListenID{everywhere.ID, six.ID}, b.started)
	require.Len(t, r.Listeners(), 3)

	r.ListenStop(everywhere.ID)
	require.Equal(t, []ListenID{everywhere.ID}, a.stopped)
	require.Equal(t, []ListenID{everywhere.ID}, b.stopped)
	r.ListenStop(everywhere.ID)
	require.Len(t, a.stopped, 1, "an unknown listener is ignored")

	// The listeners outlive the device.
	require.NoError(t, r.Deactivate("toe0"))
	a.started = nil
	require.NoError(t, r.Activate("toe0"))
	require.Equal(t, []ListenID{only.ID}, a.started)
}

func TestListenRefusals(t *testing.T) {
	r, _, a, b := newFakes(t)
	require.NoError(t, r.Activate("toe0"))
	require.NoError(t, r.Activate("toe1"))
	a.listen, b.listen = ReasonTableFull, ReasonTableFull
	for _, c := range []struct {
		name string
		l    Listener
		want Reason
	}{
		{"no port", Listener{}, ReasonInvalid},
		{"loopback", Listener{Port: 1, Addr: addr("127.0.0.1")}, ReasonLoopback},
		{"loopback, IPv6", Listener{Port: 1, Addr: addr("::1"), V6: true}, ReasonLoopback},
		{"address of another interface", Listener{Port: 1, Addr: addr("192.0.2.1")}, ReasonLocalAddr},
		{"device refuses", Listener{Port: 1, Addr: addr("10.0.1.1")}, ReasonTableFull},
		{"all devices refuse", Listener{Port: 1}, ReasonTableFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, r.ListenStart(&c.l))
			require.Zero(t, c.l.ID)
		})
	}
	require.Empty(t, r.Listeners())
	b.listen = Offloaded
	l := &Listener{Port: 1}
	require.Equal(t, Offloaded, r.ListenStart(l), "one device is enough")
	_, listens := r.Decisions()
	require.Equal(t, Decisions{Offloaded: 1, ReasonInvalid: 1, ReasonLoopback: 2, ReasonLocalAddr: 1,
		ReasonTableFull: 2}, listens)
}

func TestRoute(t *testing.T) {
	r, _, a, b := newFakes(t)
	req := &ConnectRequest{}
	check := func(want Device, reason Reason) {
		t.Helper()
		dev, got := r.Route(req)
		require.Equal(t, reason, got)
		require.Equal(t, want, dev)
	}
	check(nil, ReasonNoDevice)
	require.NoError(t, r.Activate("toe0"))
	require.NoError(t, r.Activate("toe1"))
	check(a, Offloaded)
	a.offload = ReasonNoRoute
	check(b, Offloaded)
	b.offload = ReasonTableFull
	check(nil, ReasonTableFull)
	a.offload, b.offload = ReasonTableFull, ReasonNoRoute
	check(nil, ReasonTableFull)
	a.offload = ReasonNoRoute
	check(nil, ReasonNoRoute)
	routes, _ := r.Decisions()
	require.Equal(t, Decisions{Offloaded: 2, ReasonNoDevice: 1, ReasonTableFull: 2, ReasonNoRoute: 1},
		routes)
	require.Zero(t, testing.AllocsPerRun(100, func() { r.Route(req) }))
}

// A worker may ask for a route while its own device is still being activated.
func TestRouteDuringActivation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, a, _ := newFakes(t)
		a.blocked = make(chan struct{})
		done := make(chan error)
		go func() { done <- r.Activate("toe0") }()
		synctest.Wait()
		_, reason := r.Route(&ConnectRequest{})
		require.Equal(t, ReasonNoDevice, reason)
		close(a.blocked)
		require.NoError(t, <-done)
		_, reason = r.Route(&ConnectRequest{})
		require.Equal(t, Offloaded, reason)
	})
}

func TestBaseDeviceRefuses(t *testing.T) {
	var d BaseDevice
	require.ErrorIs(t, d.Attach(nil), ErrNotSupported)
	require.ErrorIs(t, d.Detach(), ErrDetached)
	require.ErrorIs(t, d.Do(0, nil), ErrDetached)
	require.Equal(t, ReasonUnsupported, d.CanOffload(nil))
	require.Equal(t, ReasonUnsupported, d.ListenStart(nil))
	_, reason := d.Connect(0, nil)
	require.Equal(t, ReasonUnsupported, reason)
	require.ErrorIs(t, d.PMTUUpdate(wire.Addr{}, 1500), ErrNotSupported)
}

// Draining: nothing new, listeners pause; listeners that a new policy concerns get its settings.
func TestDrainAndReconsider(t *testing.T) {
	dev := &listenerDev{options: map[Option]int64{}}
	r := NewRegistry()
	require.NoError(t, r.RegisterSocketLayer(layerStub{}))
	require.NoError(t, r.Register(dev))
	require.NoError(t, r.Activate(dev.Name()))
	l := &Listener{Port: 80, Asked: SocketOptions{NoDelay: true}, Opt: SocketOptions{NoDelay: true, CC: CCBBR, MSS: 900}}
	require.Equal(t, Offloaded, r.ListenStart(l))
	r.Drain(true)
	require.True(t, r.Draining())
	require.EqualValues(t, 1, dev.options[OptionPause])
	_, reason := r.Route(&ConnectRequest{})
	require.Equal(t, ReasonDraining, reason)
	require.Equal(t, ReasonDraining, r.ListenStart(&Listener{Port: 81}))
	r.Drain(false)
	require.EqualValues(t, 0, dev.options[OptionPause])
	_, reason = r.Route(&ConnectRequest{})
	require.Equal(t, Offloaded, reason)

	p, err := NewPolicy([]Rule{{LocalPorts: Ports{80, 80}, SACK: No, ECN: ECNOn, FastOpen: Yes, Mirror: No}})
	require.NoError(t, err)
	clear(dev.options)
	require.Equal(t, 1, r.Reconsider(p))
	require.Equal(t, map[Option]int64{OptionCC: 0, OptionMaxSeg: 0, OptionNoSACK: 1, OptionECN: int64(ECNOn),
		OptionFastOpen: fastOpenQueue, OptionNoMirror: 1}, dev.options)
	require.Zero(t, r.Reconsider(p), "nothing more to change")
	require.Zero(t, p.Rules()[0].Hits)
	require.NoError(t, r.ListenOption(p, l.ID, OptionFastOpen, 7))
	require.EqualValues(t, 7, dev.options[OptionFastOpen], "as the program says: the rule is for who has not asked")
	bounds, err := NewPolicy([]Rule{{FastOpen: No, MaxPacingRate: 500, MSS: 900, CC: CCBBR}})
	require.NoError(t, err)
	for _, c := range []struct {
		o           Option
		asks, given int64
	}{
		{OptionFastOpen, 9, 0}, {OptionMaxPacingRate, 800, 500}, {OptionMaxPacingRate, 0, 500}, {OptionMaxPacingRate, 300, 300},
		{OptionMaxSeg, 1400, 900}, {OptionMaxSeg, 800, 800}, {OptionCC, int64(CCReno), int64(CCReno)}, {OptionCC, 0, int64(CCBBR)},
		{OptionFastOpen, 0, 0}, {OptionMaxPacingRate, 0, 500},
	} {
		require.NoError(t, r.ListenOption(bounds, l.ID, c.o, c.asks))
		require.Equal(t, c.given, dev.options[c.o], "option %d: %d", c.o, c.asks)
	}
	require.NoError(t, r.ListenOption(p, l.ID, OptionMaxSeg, 700))
	require.Equal(t, 1, r.Reconsider(nil))
	require.EqualValues(t, 700, r.Listeners()[0].Opt.MSS, "what the program said later is kept")
	require.False(t, r.Listeners()[0].Opt.NoSACK)
}

// listenerDev takes everything and remembers the settings of listeners.
type listenerDev struct {
	BaseDevice
	options map[Option]int64
}

func (*listenerDev) Name() string                      { return "listener0" }
func (*listenerDev) Attach(UpperLayer) error           { return nil }
func (*listenerDev) ListenStart(*Listener) Reason      { return Offloaded }
func (*listenerDev) CanOffload(*ConnectRequest) Reason { return Offloaded }
func (d *listenerDev) ListenOption(_ ListenID, o Option, value int64) error {
	d.options[o] = value
	return nil
}

type layerStub struct{}

func (layerStub) Attach(Device) (UpperLayer, error) { return nil, nil }
func (layerStub) Detach(Device)                     {}

// A listener whose address no device has waits, if addresses of a device come and go: it is started when the
// address is there, paused when it has to be, and has the settings that its program has given it meanwhile.
func TestListenerWaits(t *testing.T) {
	r, _, a, b := newFakes(t)
	l := &Listener{Port: 80, Addr: addr("192.0.2.77")}
	require.NoError(t, r.Activate("toe0"))
	require.Equal(t, ReasonLocalAddr, r.ListenStart(l))
	require.Zero(t, l.ID, "nothing will change")
	require.Empty(t, r.Listeners())

	a.kernel = true
	require.Equal(t, ReasonLocalAddr, r.ListenStart(l))
	require.NotZero(t, l.ID)
	require.True(t, r.Waits(l.ID))
	require.Len(t, r.Listeners(), 1)
	require.NoError(t, r.ListenOption(nil, l.ID, OptionMaxSeg, 700))
	require.Zero(t, r.Rehome())
	require.Empty(t, a.started)

	r.Drain(true)
	a.prefixes = append(a.prefixes, netip.MustParsePrefix("192.0.2.77/24"))
	a.listen = ReasonTableFull
	require.Zero(t, r.Rehome())
	require.True(t, r.Waits(l.ID))
	a.listen, a.set = Offloaded, nil
	require.Equal(t, 1, r.Rehome())
	require.Equal(t, []ListenID{l.ID}, a.started)
	require.Equal(t, []Option{OptionPause}, a.set)
	require.EqualValues(t, 700, a.last.Opt.MSS)
	require.False(t, r.Waits(l.ID))
	require.Zero(t, r.Rehome())
	_, listens := r.Decisions()
	require.EqualValues(t, 1, listens[Offloaded])
	require.EqualValues(t, 2, listens[ReasonLocalAddr])
	r.Drain(false)

	// One that stops while it waits is not started any more.
	gone := &Listener{Port: 81, Addr: addr("192.0.2.78")}
	require.Equal(t, ReasonLocalAddr, r.ListenStart(gone))
	r.ListenStop(gone.ID)
	require.False(t, r.Waits(gone.ID))
	a.prefixes = append(a.prefixes, netip.MustParsePrefix("192.0.2.78/24"))
	require.Zero(t, r.Rehome())

	// A device that becomes active may have the address, and so may the one that comes back without it.
	third := &Listener{Port: 82, Addr: addr("192.0.2.79")}
	require.Equal(t, ReasonLocalAddr, r.ListenStart(third))
	b.prefixes = []netip.Prefix{netip.MustParsePrefix("192.0.2.79/24")}
	require.NoError(t, r.Activate("toe1"))
	require.False(t, r.Waits(third.ID))
	require.Contains(t, b.started, third.ID)
	require.NoError(t, r.Deactivate("toe1"))
	b.prefixes, b.kernel = nil, true
	require.NoError(t, r.Activate("toe1"))
	require.True(t, r.Waits(third.ID))

	local := &Listener{Port: 83, V6: true, Addr: addr("fe80::1")}
	require.Equal(t, ReasonLinkLocal, r.ListenStart(local))
	require.Zero(t, local.ID)
}
