package hwregs

// The blocks around the transport processor.

func blockPL() Block {
	return Block{Name: "PL", Base: 0x6e0, Count: 1, Doc: "The device as a whole.", Regs: []Reg{
		{Name: "PL_INT_CAUSE", Offset: 0x04, Access: W1C, Doc: "What has happened since the bit was cleared.", Fields: []Field{
			{Name: "ShmViolation", Bit: 2, Len: 1, Access: W1C, Doc: "a client was detached because it broke the contract"},
			{Name: "LinkChange", Bit: 1, Len: 1, Access: W1C, Doc: "a port's link went up or down"},
			{Name: "WriteRejected", Bit: 0, Len: 1, Access: W1C, Doc: "PL_ERR has grown"},
		}},
		{Name: "PL_HEARTBEAT", Offset: 0x08, Access: RO, Wide: true, Doc: "Iterations of the workers' poll loops, all together."},
		{Name: "PL_RST", Offset: 0x10, Access: RW, Doc: "Reset.", Fields: []Field{
			{Name: "CRstWrm", Bit: 1, Len: 1, Access: RW, Doc: "writing 1 resets every connection; reads 0"},
		}},
		{Name: "PL_REV", Offset: 0x14, Access: RO, Doc: "Version of the program.", Fields: []Field{
			{Name: "RevMajor", Bit: 16, Len: 8, Access: RO, Doc: "major"},
			{Name: "RevMinor", Bit: 8, Len: 8, Access: RO, Doc: "minor"},
			{Name: "RevPatch", Bit: 0, Len: 8, Access: RO, Doc: "patch"},
		}},
		{Name: "PL_WHOAMI", Offset: 0x18, Access: RO, Doc: "Number of the device."},
		{Name: "PL_ERR", Offset: 0x1c, Access: RO, Doc: "Register writes that were rejected."},
	}}
}

func blockLE() Block {
	return Block{Name: "LE", Base: 0x700, Count: 1, Doc: "Lookup engine: the tables of connections and listeners.", Regs: []Reg{
		{Name: "LE_DB_ACTIVE_SIZE", Offset: 0x00, Access: RO, Doc: "Connections that fit."},
		{Name: "LE_DB_ACTIVE_INUSE", Offset: 0x04, Access: RO, Doc: "Connections there are, TIME-WAIT included."},
		{Name: "LE_DB_SERVER_SIZE", Offset: 0x08, Access: RO, Doc: "Listeners that fit."},
		{Name: "LE_DB_SERVER_INUSE", Offset: 0x0c, Access: RO, Doc: "Listeners there are."},
	}}
}

func blockMPS() Block {
	return Block{Name: "MPS", Base: 0x600, Count: 1, Doc: "Ports and their mirror.", Regs: []Reg{
		{Name: "MPS_CFG", Offset: 0x00, Access: RO, Doc: "Ports.", Fields: []Field{
			{Name: "PortsActive", Bit: 0, Len: 4, Access: RO, Doc: "bit n: port n is open"},
		}},
		{Name: "MPS_TRC_CFG", Offset: 0x04, Access: RO, Doc: "The mirror.", Fields: []Field{
			{Name: "TrcEn", Bit: 0, Len: 1, Access: RO, Doc: "somebody listens"},
		}},
		{Name: "MPS_TRC_DROPS", Offset: 0x08, Access: RO, Wide: true, Doc: "Frames that the mirror lost because a sink was slow."},
	}}
}

func blockSHM() Block {
	return Block{Name: "SHM", Base: 0x1400, Count: 1, Doc: "The socket layer's clients.", Regs: []Reg{
		{Name: "SHM_CLIENTS", Offset: 0x00, Access: RO, Doc: "Processes attached."},
		{Name: "SHM_CLIENTS_MAX", Offset: 0x04, Access: RO, Doc: "Processes that may attach."},
		{Name: "SHM_SOCKETS", Offset: 0x08, Access: RO, Doc: "Sockets offloaded."},
		{Name: "SHM_VIOLATIONS", Offset: 0x0c, Access: RO, Doc: "Clients detached because they broke the contract."},
		{Name: "SHM_MEMORY", Offset: 0x10, Access: RO, Wide: true, Unit: Bytes, Doc: "Memory files of all clients."},
	}}
}

// blockXGM is one MAC, four times.
func blockXGM() Block {
	regs := []Reg{
		{Name: "XGM_PORT_CFG", Offset: 0x00, Access: RO, Doc: "Link.", Fields: []Field{
			{Name: "FullDuplex", Bit: 1, Len: 1, Access: RO, Doc: "both directions at once"},
			{Name: "LinkUp", Bit: 0, Len: 1, Access: RO, Doc: "carrier"},
		}},
		{Name: "XGM_PORT_SPEED", Offset: 0x04, Access: RO, Unit: Mbps, Doc: "Link speed, 0 if unknown."},
		{Name: "XGM_RX_MAX_PKT_SIZE", Offset: 0x08, Access: RW, Reset: 1500, Unit: Bytes, Doc: "MTU: the largest IP packet, both directions."},
		{Name: "XGM_MAC", Offset: 0x10, Access: RO, Wide: true, Doc: "Ethernet address, first octet highest of 48 bits."},
	}
	stats := counters([]counter{
		{"XGM_STAT_RX_FRAMES", "Frames received."},
		{"XGM_STAT_RX_BYTES", "Octets in them."},
		{"XGM_STAT_RX_MISSED", "Frames lost because the ring was full."},
		{"XGM_STAT_RX_ERR", "Frames received in error."},
		{"XGM_STAT_RX_NOBUF", "Frames lost for want of a buffer."},
		{"XGM_STAT_TX_FRAMES", "Frames sent."},
		{"XGM_STAT_TX_BYTES", "Octets in them."},
		{"XGM_STAT_TX_ERR", "Frames the driver could not send."},
	})
	for i := range stats {
		stats[i].Offset += 0x100
	}
	return Block{Name: "XGM", Base: 0x2000, Count: 4, Stride: 0x200, Doc: "Ethernet ports.", Regs: append(regs, stats...)}
}

type counter struct{ name, doc string }

// counters lays 64-bit counters out one behind the other.
func counters(list []counter) []Reg {
	regs := make([]Reg, len(list))
	for i, c := range list {
		regs[i] = Reg{Name: c.name, Offset: uint32(8 * i), Access: RO, Wide: true, Doc: c.doc}
	}
	return regs
}

// Blocks returns the register map, in ascending order of addresses.
func Blocks() []Block {
	return []Block{
		blockTP(), blockMPS(), blockPL(), blockLE(),
		blockTPX(), blockSHM(), blockMIB(), blockXGM(),
	}
}
