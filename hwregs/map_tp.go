package hwregs

// Block TP, the transport processor: the TCP engine's settings and counters.

func blockTP() Block {
	return Block{Name: "TP", Base: 0x300, Count: 1, Doc: "Transport processor: the TCP engine's settings.", Regs: []Reg{
		{Name: "TP_TCP_OPTIONS", Offset: 0x40, Access: RW, Reset: 0x00000315, Doc: "Which TCP options new connections use.", Fields: []Field{
			{Name: "SACKTx", Bit: 9, Len: 1, Access: RW, Doc: "act on selective acknowledgements (RFC 6675)"},
			{Name: "SACKRx", Bit: 8, Len: 1, Access: RW, Doc: "send selective acknowledgements (RFC 2018)"},
			{Name: "SACKMode", Bit: 4, Len: 2, Access: RW, Doc: "0 never, 1 offer and accept"},
			{Name: "WindowScaleMode", Bit: 2, Len: 2, Access: RW, Doc: "0 never, 1 offer and accept (RFC 7323 §2)"},
			{Name: "TimestampsMode", Bit: 0, Len: 2, Access: RW, Doc: "0 never, 1 offer and accept (RFC 7323 §3)"},
		}},
		{Name: "TP_DACK_CONFIG", Offset: 0x44, Access: RW, Reset: 0x00000010, Doc: "When an ACK may wait.", Fields: []Field{
			{Name: "MSSThreshold", Bit: 3, Len: 7, Access: RW, Doc: "full segments that one ACK may cover (RFC 9293 §3.8.6.3); Chelsio has 2 bits here"},
		}},
		{Name: "TP_PARA_REG0", Offset: 0x60, Access: RW, Reset: 0x0a300000, Doc: "Start of a connection.", Fields: []Field{
			{Name: "InitCwnd", Bit: 24, Len: 8, Access: RW, Doc: "initial congestion window in segments (RFC 6928); Chelsio has 3 bits here"},
			{Name: "DupAckThresh", Bit: 20, Len: 4, Access: RO, Doc: "duplicate ACKs that mean a loss (RFC 5681 §3.2)"},
		}},
		{Name: "TP_PARA_REG1", Offset: 0x64, Access: RW, Reset: 0x01000000, Doc: "Windows of a new connection.", Fields: []Field{
			{Name: "InitRwnd", Bit: 16, Len: 16, Access: RW, Unit: KiB, Doc: "receive-stream limit of a new connection"},
		}},
		{Name: "TP_PARA_REG3", Offset: 0x6c, Access: RW, Doc: "Modes.", Fields: []Field{
			{Name: "CngCtrlMode", Bit: 2, Len: 2, Access: RW, Doc: "congestion control of new connections, by the engine's number"},
		}},
		{Name: "TP_TIMER_RESOLUTION", Offset: 0x90, Access: RO, Reset: TimerResolution<<16 | TimerResolution, Doc: "Lengths of ticks. The core clock is 1.024 GHz: a tick of 2^13 clocks is 8 µs.", Fields: []Field{
			{Name: "TimerRes", Bit: 16, Len: 8, Access: RO, Doc: "log2 of the core clocks in a tick of the timers"},
			{Name: "DelayedACKResolution", Bit: 0, Len: 8, Access: RO, Doc: "the same for TP_DACK_TIMER"},
		}},
		timer("TP_MSL", 0x94, 30_000, "Maximum segment lifetime; TIME-WAIT lasts two (RFC 9293 §3.4.2)."),
		timer("TP_RXT_MIN", 0x98, 200, "Least retransmission timeout (RFC 6298 2.4)."),
		timer("TP_RXT_MAX", 0x9c, 120_000, "Greatest retransmission timeout (RFC 6298 2.5)."),
		timer("TP_PERS_MIN", 0xa0, 200, "Least time between zero-window probes (RFC 9293 §3.8.6.1)."),
		timer("TP_PERS_MAX", 0xa4, 60_000, "Greatest time between zero-window probes."),
		timer("TP_KEEP_IDLE", 0xa8, 7_200_000, "Silence before the first keepalive probe (RFC 9293 §3.8.4)."),
		timer("TP_KEEP_INTVL", 0xac, 75_000, "Time between keepalive probes."),
		timer("TP_INIT_SRTT", 0xb0, 1000, "Retransmission timeout before the first measurement (RFC 6298 2.1)."),
		timer("TP_DACK_TIMER", 0xb4, 40, "Longest delay of an ACK (RFC 9293 §3.8.6.3)."),
		timer("TP_FINWAIT2_TIMER", 0xb8, 60_000, "FIN-WAIT-2 of a connection whose program is gone."),
		{Name: "TP_SHIFT_CNT", Offset: 0xc0, Access: RW, Reset: 0x060f0009, Doc: "How often to try. R2 of RFC 9293 §3.8.3 is RxtShiftMaxR2.", Fields: []Field{
			{Name: "SynShiftMax", Bit: 24, Len: 8, Access: RW, Doc: "SYN retransmissions of an active open"},
			{Name: "RxtShiftMaxR2", Bit: 16, Len: 8, Access: RW, Doc: "retransmissions that end a connection; Chelsio has 4 bits here and R1 above"},
			{Name: "KeepaliveMax", Bit: 0, Len: 8, Access: RW, Doc: "unanswered keepalive probes that end a connection"},
		}},
		{Name: "TP_TIME", Offset: 0xc8, Access: RO, Wide: true, Unit: Nanos, Doc: "Free-running time of the device."},
		{Name: "TP_MIB_INDEX", Offset: 0x150, Access: RW, Doc: "Selects what TP_MIB_RDATA shows: word i is half i%2 (0 high, 1 low) of counter i/2 in the order of block TP_MIB."},
		{Name: "TP_MIB_RDATA", Offset: 0x154, Access: IDX, Index: "TP_MIB_INDEX", Doc: "The selected word. Reading steps TP_MIB_INDEX on."},
	}}
}

// timer describes a timer register; reset is in milliseconds.
func timer(name string, offset uint32, reset uint64, doc string) Reg {
	const perMs = 1_000_000 / uint64(Tick)
	return Reg{Name: name, Offset: offset, Access: RW, Reset: uint32(reset * perMs), Unit: Ticks, Doc: doc}
}

// blockMIB is a window of our own on the counters that Chelsio reaches through TP_MIB_INDEX alone.
func blockMIB() Block {
	return Block{Name: "TP_MIB", Base: 0x1800, Count: 1, Doc: "The engine's counters, named after RFC 4022. TP_MIB_INDEX reaches them too.", Regs: counters([]counter{
		{"TP_MIB_TCP_ACTIVE_OPENS", "tcpActiveOpens: SYN-SENT from CLOSED."},
		{"TP_MIB_TCP_PASSIVE_OPENS", "tcpPassiveOpens: SYN-RECEIVED from LISTEN."},
		{"TP_MIB_TCP_ATTEMPT_FAILS", "tcpAttemptFails: opens that failed."},
		{"TP_MIB_TCP_ESTAB_RESETS", "tcpEstabResets: established connections that were reset."},
		{"TP_MIB_TCP_CURR_ESTAB", "tcpCurrEstab: connections in ESTABLISHED or CLOSE-WAIT now."},
		{"TP_MIB_TCP_IN_SEG", "tcpInSegs: segments received."},
		{"TP_MIB_TCP_OUT_SEG", "tcpOutSegs: segments sent, retransmissions not counted."},
		{"TP_MIB_TCP_RXT_SEG", "tcpRetransSegs: segments retransmitted."},
		{"TP_MIB_TCP_IN_ERR", "tcpInErrs: segments received in error."},
		{"TP_MIB_TCP_OUT_RST", "tcpOutRsts: resets sent."},
	})}
}

func blockTPX() Block {
	return Block{Name: "TPX", Base: 0x1000, Count: 1, Doc: "Settings of the engine that Chelsio's TP has no register for.", Regs: []Reg{
		{Name: "TPX_SYNACK_RETRIES", Offset: 0x00, Access: RW, Reset: 5, Doc: "SYN-ACK retransmissions of a passive open."},
		{Name: "TPX_CHALLENGE_ACK_LIMIT", Offset: 0x04, Access: RW, Reset: 10, Doc: "Challenge ACKs per second and connection (RFC 5961 §7)."},
		{Name: "TPX_RCVBUF_MAX", Offset: 0x08, Access: RW, Reset: 6 << 20, Unit: Bytes, Doc: "Receive-stream limit that auto-tuning may reach."},
		{Name: "TPX_TW_INUSE", Offset: 0x0c, Access: RO, Doc: "Connections in TIME-WAIT."},
		{Name: "TPX_ECN_MODE", Offset: 0x10, Access: RW, Reset: 2, Doc: "Explicit congestion notification of new connections (RFC 3168): 1 off, 2 when the peer asks, 3 ask."},
		{Name: "TPX_SYN_COOKIES", Offset: 0x14, Access: RW, Reset: 1, Doc: "SYN cookies (RFC 4987): 0 never, 1 when too many handshakes are under way, 2 always."},
		{Name: "TPX_FAST_OPEN", Offset: 0x18, Access: RW, Reset: 3, Doc: "Fast Open (RFC 7413), the sides allowed.", Fields: []Field{
			{Name: "Sides", Bit: 0, Len: 4, Access: RW, Doc: "1 client, 2 server, 4 client without cookies, 8 server without cookies"},
		}},
		{Name: "TPX_MTU_PROBING", Offset: 0x1c, Access: RW, Reset: 1, Doc: "Finding the path MTU without ICMP (RFC 4821): 0 never, 1 when segments vanish, 2 always."},
		{Name: "TPX_MIN_PMTU", Offset: 0x20, Access: RW, Reset: 552, Unit: Bytes, Doc: "Least path MTU that an ICMP error can make IPv4 use."},
		{Name: "TPX_MODES", Offset: 0x24, Access: RW, Reset: 0x00000002, Doc: "Switches.", Fields: []Field{
			{Name: "UserTimeout", Bit: 3, Len: 1, Access: RW, Doc: "send and adopt the user timeout option (RFC 5482)"},
			{Name: "AbortOnOverflow", Bit: 2, Len: 1, Access: RW, Doc: "reset a handshake that ends while the accept queue is full"},
			{Name: "IdleRestart", Bit: 1, Len: 1, Access: RW, Doc: "slow start again after idle (RFC 5681 §4.1)"},
			{Name: "Pacing", Bit: 0, Len: 1, Access: RW, Doc: "spread windows over the round trip"},
		}},
		{Name: "TPX_SNDBUF", Offset: 0x28, Access: RW, Reset: 256 << 10, Unit: Bytes, Doc: "Send buffer that a connection is taken to begin with."},
		{Name: "TPX_SNDBUF_MAX", Offset: 0x2c, Access: RW, Reset: 4 << 20, Unit: Bytes, Doc: "Send buffer that auto-tuning may recommend."},
		timer("TPX_UTO_MIN", 0x30, 100_000, "Least user timeout that is adopted from a peer (RFC 5482 §3.1)."),
		timer("TPX_UTO_MAX", 0x34, 3_600_000, "Greatest user timeout that is adopted from a peer."),
		{Name: "TPX_BURST_SEGS", Offset: 0x38, Access: RW, Doc: "Full segments that a NIC gets to cut at once, at most 255; 0: as many as it takes."},
	}}
}
