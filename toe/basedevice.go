package toe

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// BaseDevice answers every method of [Device] with "not supported", with a zero value, or by doing
// nothing. A driver embeds it and overrides what it can do, so that no caller has to ask first.
// It has no state; the zero BaseDevice is ready.
type BaseDevice struct{}

var _ Device = BaseDevice{}

// Name returns "": a driver has to override it to be registered.
func (BaseDevice) Name() string { return "" }

// Info returns the zero Info.
func (BaseDevice) Info() Info { return Info{} }

// Attach refuses.
func (BaseDevice) Attach(UpperLayer) error { return ErrNotSupported }

// Detach reports that nothing was attached.
func (BaseDevice) Detach() error { return ErrDetached }

// Do reports that no worker runs.
func (BaseDevice) Do(int, func(vtime.Time)) error { return ErrDetached }

// Post reports that no worker runs.
func (BaseDevice) Post(int, func(vtime.Time)) error { return ErrDetached }

// AddWakeFD refuses.
func (BaseDevice) AddWakeFD(int, int) error { return ErrNotSupported }

// RemoveWakeFD refuses.
func (BaseDevice) RemoveWakeFD(int, int) error { return ErrNotSupported }

// CanOffload refuses.
func (BaseDevice) CanOffload(*ConnectRequest) Reason { return ReasonUnsupported }

// SteerConnect returns worker 0.
func (BaseDevice) SteerConnect(*wire.Flow) int { return 0 }

// ListenStart refuses.
func (BaseDevice) ListenStart(*Listener) Reason { return ReasonUnsupported }

// ListenStop does nothing.
func (BaseDevice) ListenStop(ListenID) {}

// ListenOption refuses.
func (BaseDevice) ListenOption(ListenID, Option, int64) error { return ErrNotSupported }

// Accepted does nothing.
func (BaseDevice) Accepted(int, ListenID, int) {}

// Connect refuses.
func (BaseDevice) Connect(int, *ConnectRequest) (TID, Reason) { return 0, ReasonUnsupported }

// Output does nothing.
func (BaseDevice) Output(TID, uint64, bool) {}

// OutputUrgent does nothing.
func (BaseDevice) OutputUrgent(TID, uint64) {}

// OutputBorder does nothing.
func (BaseDevice) OutputBorder(TID, uint64) {}

// Received does nothing.
func (BaseDevice) Received(TID, uint64) {}

// SendFIN does nothing.
func (BaseDevice) SendFIN(TID) {}

// SendRST does nothing.
func (BaseDevice) SendRST(TID) {}

// Release does nothing.
func (BaseDevice) Release(TID) {}

// SetOption refuses.
func (BaseDevice) SetOption(TID, Option, int64) error { return ErrNotSupported }

// ConnInfo knows no connection.
func (BaseDevice) ConnInfo(TID, *ConnInfo) bool { return false }

// EachConn has no connection to show.
func (BaseDevice) EachConn(int, uint32, func(TID, *ConnInfo)) uint32 { return 0 }

// L2Update refuses.
func (BaseDevice) L2Update(wire.Addr, wire.MAC, bool) error { return ErrNotSupported }

// RouteRedirect refuses.
func (BaseDevice) RouteRedirect(wire.Addr, wire.Addr) error { return ErrNotSupported }

// PMTUUpdate refuses.
func (BaseDevice) PMTUUpdate(wire.Addr, int) error { return ErrNotSupported }

// SetTaps does nothing.
func (BaseDevice) SetTaps(...Tap) {}
