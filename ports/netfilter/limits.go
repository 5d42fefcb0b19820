package netfilter

import "time"

// Limits of the package.
const (
	// maxMessage is how many octets one message of the kernel has at most: a SYN of a jumbo frame with what
	// netlink says about it.
	maxMessage = 16 << 10
	// maxElements is how many listeners one change of the table has; more take several.
	maxElements = 500
	// maxListeners bounds the addresses and ports in the table. Listeners beyond it are the kernel's.
	maxListeners = 1 << 16

	// firstGroup and groups are the groups of nfnetlink_log that are tried: another program may have some.
	firstGroup, groups = 31000, 1000

	// reportBuffer is how many octets of SYNs wait for us at most; the kernel drops more, counted.
	reportBuffer = 4 << 20
	// reportAlloc is what the kernel allocates for one report; a longer one has what it takes.
	reportAlloc = 512

	// maxUsers is how many users' raw sockets a worker keeps; the one that waited longest makes room.
	maxUsers = 64
	// maxStale is how many reports a worker passes over before it gives up waiting for its own: late ones, of
	// copies that a rule had queued for another program's verdict.
	maxStale = 1000

	// restTime is for how long SYNs are the kernel's after one that the TOE had no room for: longer than the
	// second after which its sender sends it again, so that it does not meet the same fate.
	restTime = 3 * time.Second
)
