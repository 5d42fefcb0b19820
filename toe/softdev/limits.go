package softdev

import (
	"time"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
)

// Limits of the package: what is bounded, by how much, and what happens at the bound.
const (
	// maxWorkers bounds the queues of a port: a TID has eight bits for its worker. New refuses more.
	maxWorkers = 1 << tidWorkerBits

	// maxConnsPerWorker is what an engine can have; the index bits of a TID name its records too. New
	// refuses more.
	maxConnsPerWorker = tcpoffload.MaxConns

	// segsCap is how many segments the engine may put out before frames are built of them.
	segsCap = 64

	// actionsCap is the first size of the action list; a burst of calls may grow it.
	actionsCap = 256

	// txBudget is how many segments one iteration sends at most, so that a long send queue does
	// not keep the worker from receiving. The rest is sent in the next iteration.
	txBudget = 256

	// expireRounds is how often one iteration asks the engine for expired timers. The rest expire
	// in the next iteration.
	expireRounds = 4

	// maxMailbox is how many posted functions may wait for one worker; Post refuses more.
	maxMailbox = 1 << 16

	// minOpens is how many active opens a worker remembers before it looks which have ended.
	minOpens = 64

	// confirmEvery is how many acknowledgements lie between two confirmations that the neighbour
	// of the last one is reachable (RFC 4861 §7.3.1). A busy flow confirms often enough to make
	// probes needless; an idle one costs a probe now and then.
	confirmEvery = 64

	// openTrains is how many connections' segments are merged at a time. When one more comes, all
	// trains go to the engine as they are.
	openTrains = 4

	// maxTrain is how many octets a train has at most, as Linux' GRO.
	maxTrain = 1<<16 - 1

	// largeBurst is how many frames a burst has at least that, after another one of the kind, tells of a receive ring in
	// which more come than are taken. It then counts as crowded for crowdTime. Some drivers give no more at a time.
	largeBurst = 32
	crowdTime  = vtime.Millisecond

	// roomPerSyn is for how many frames that a burst of a crowded ring might have had and has not one more SYN of it is
	// taken: one of a full burst, all of a small one. More are dropped unread, but for those saved.
	roomPerSyn = 4

	// jamTime is how long a transmit ring that was full once counts as full: a connection that lost a segment to it
	// recovers in the meantime. Then SYN-ACKs may have a synAckShare-th of what is sent, each reckoned as synAckOctets with
	// what the wire takes besides; at most synAckOctetsMost are put by. More SYNs are dropped unread, but for those saved.
	jamTime          = vtime.Second
	synAckShare      = 16
	synAckOctets     = 100
	synAckOctetsMost = 64 * synAckOctets

	// maxJudgements is how many SYNs that the packet filter has let through may wait for one worker; more are lost.
	maxJudgements = 1 << 10

	// savedSyns are the SYNs that are taken all the same, so that many clients who come at one time are not taken for a
	// flood. One comes back each savedSynEvery.
	savedSyns     = 1 << 10
	savedSynEvery = 100 * vtime.Microsecond

	// icmpPerSecond is how many ICMP errors about our segments a worker believes in a second: more
	// come only from an attacker, and a real one is repeated.
	icmpPerSecond = 1000

	// walkBatch is how many connections a worker looks at in one iteration when a path or a route to
	// an address has changed, or when an operator wants to see them. The rest follows in the next iterations.
	walkBatch = 256

	// walkLooks is how many entries of the tables, used or not, it looks at meanwhile.
	walkLooks = 1024

	// rerouteBatch is how many connections a worker gives new next hops in one iteration when routes have
	// changed: with policy routing the kernel is asked for each.
	rerouteBatch = 32

	// minPathMTU is the least path MTU that is believed: IPv4's (RFC 791).
	minPathMTU = 68

	// wakeEvents is how many descriptors one wake-up takes note of; more remain ready.
	wakeEvents = 16

	// defaultSpin is how long an adaptive worker polls idle before it sleeps: longer than a
	// client needs to answer on the other core, short against a scheduler tick.
	defaultSpin = 20 * time.Microsecond

	// defaultPollInterval bounds the sleep of a worker with a port that cannot wake it.
	defaultPollInterval = 100 * time.Microsecond
)

// defaultTTL is the TTL and hop limit of what the device sends (RFC 1700, RFC 9293 MUST-49).
const defaultTTL = 64
