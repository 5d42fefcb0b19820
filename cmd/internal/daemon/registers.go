package daemon

import (
	"fmt"

	"opentoe/cmd/internal/ctl"
	"opentoe/cmd/internal/version"
	"opentoe/hwregs"
)

// bindRegisters connects the registers of the blocks that lie outside the device: the Ethernet
// ports, the mirror and the clients. The device binds its own.
func (d *Daemon) bindRegisters() error {
	if d.hw.soft != nil {
		if err := d.hw.soft.BindRegisters(d.bank); err != nil {
			return err
		}
	}
	major, minor, patch := version.Numbers()
	bindings := map[string]func() uint64{
		"PL_WHOAMI":           number(0),
		"PL_REV.RevMajor":     number(major),
		"PL_REV.RevMinor":     number(minor),
		"PL_REV.RevPatch":     number(patch),
		"MPS_CFG.PortsActive": d.portsActive,
		"MPS_TRC_CFG.TrcEn":   func() uint64 { return bit(d.sniffing.Load()) },
		"MPS_TRC_DROPS":       func() uint64 { return d.mirror.Stats().Lost },
		"SHM_CLIENTS":         func() uint64 { return uint64(len(d.sockets.Clients())) },
		"SHM_CLIENTS_MAX":     func() uint64 { return uint64(d.cfg.Clients.Max) },
		"SHM_SOCKETS":         func() uint64 { return uint64(d.sockets.Usage().Sockets) },
		"SHM_VIOLATIONS":      d.violations,
		"SHM_MEMORY":          d.clientMemory,
	}
	for i, n := range d.hw.nics {
		for name, get := range n.registers() {
			bindings[fmt.Sprintf("XGM%d_%s", i, name)] = get
		}
	}
	for name, get := range bindings {
		if err := d.bank.Bind(name, hwregs.Binding{Get: get}); err != nil {
			return err
		}
	}
	return nil
}

// registers is the XGM block of the port, names without its number.
func (n *nic) registers() map[string]func() uint64 {
	nic := n.dev
	return map[string]func() uint64{
		"PORT_CFG.LinkUp":     func() uint64 { return bit(nic.Link().Up) },
		"PORT_CFG.FullDuplex": func() uint64 { return bit(nic.Link().FullDuplex) },
		"PORT_SPEED":          func() uint64 { return uint64(nic.Link().SpeedMbps) },
		"RX_MAX_PKT_SIZE":     func() uint64 { return uint64(nic.MTU()) },
		"MAC":                 func() uint64 { return macNumber(n.port.MAC()) },
		"STAT_RX_FRAMES":      func() uint64 { return nic.Stats().RxFrames },
		"STAT_RX_BYTES":       func() uint64 { return nic.Stats().RxBytes },
		"STAT_RX_MISSED":      func() uint64 { return nic.Stats().RxMissed },
		"STAT_RX_ERR":         func() uint64 { return nic.Stats().RxErrors },
		"STAT_RX_NOBUF":       func() uint64 { return nic.Stats().RxNoMbuf },
		"STAT_TX_FRAMES":      func() uint64 { return nic.Stats().TxFrames },
		"STAT_TX_BYTES":       func() uint64 { return nic.Stats().TxBytes },
		"STAT_TX_ERR":         func() uint64 { return nic.Stats().TxErrors },
	}
}

func number(n uint64) func() uint64 { return func() uint64 { return n } }

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// macNumber puts the first octet highest of 48 bits.
func macNumber(mac [6]byte) (n uint64) {
	for _, b := range mac {
		n = n<<8 | uint64(b)
	}
	return n
}

func (d *Daemon) violations() (n uint64) {
	for _, v := range d.sockets.Counters().Violations {
		n += v
	}
	return n
}

func (d *Daemon) portsActive() uint64 { return 1<<len(d.hw.nics) - 1 }

// Registers returns the registers that the device has, or the one named. It implements [ctl.Daemon].
func (d *Daemon) Registers(name string) ([]hwregs.Value, error) {
	if name == "" {
		return d.bank.Dump(""), nil
	}
	v, err := d.bank.Describe(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ctl.ErrRequest)
	}
	return []hwregs.Value{v}, nil
}

// Assign carries out "NAME=VALUE" and returns the register as it is then. It implements [ctl.Daemon].
func (d *Daemon) Assign(assignment string) ([]hwregs.Value, error) {
	if err := d.bank.Assign(assignment); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ctl.ErrRequest)
	}
	a, err := hwregs.ParseAssignment(assignment)
	if err != nil || a.Name == "" {
		return nil, err
	}
	return d.Registers(a.Name)
}
