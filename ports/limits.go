package ports

import (
	"time"

	"opentoe/tcpoffload/vtime"
)

// Limits of the port and its tables.
const (
	// MinMTU and maxMTU bound the IP packet, in octets; minMTU6 applies with IPv6 addresses
	// (RFC 8200 §5).
	MinMTU, minMTU6, maxMTU = 576, 1280, 65535
	// MaxAddresses bounds the linear search on the data path. What an interface has beyond it stays
	// with the kernel.
	MaxAddresses = 64
	// MaxRoutes bounds the copy of the kernel's routes. With more there the kernel is asked.
	MaxRoutes = 1 << 16
	// maxStaticRoutes bounds the routes of a configuration; New refuses more.
	maxStaticRoutes = 256
	// defaultNeighbours is the L2 table's size, maxNeighbours what an index can name. When the
	// table is full, an unused entry is given up; without one the new next hop is refused.
	defaultNeighbours, maxNeighbours = 1024, 1 << slotBits
	// maxJobs is how many neighbours one worker resolves or probes at a time. Beyond it, frames to
	// further unresolved neighbours are dropped.
	maxJobs = 64
	// heldPerHop is how many frames wait for one neighbour, as the driver's own buffers; the oldest
	// makes room for another.
	heldPerHop = 8
	// echoPerSecond and echoBurst limit echo replies per worker.
	echoPerSecond, echoBurst = 10000, 1000
	// asksPerSecond and asksBurst limit what a worker asks the kernel about routes for packets from
	// strangers. Beyond, they are dropped and counted.
	asksPerSecond, asksBurst = 5000, 500
	// redirectsPerSecond is how many redirects a worker looks at, which may mean to read the kernel's settings:
	// a router repeats its own. The others are dropped and counted.
	redirectsPerSecond = 20
	// maxRedirects is how many destinations of a port are redirected; the oldest makes room for another.
	maxRedirects = 1024
)

// Times of neighbour discovery (RFC 4861 §10), used for ARP too.
const (
	reachableTime = 30 * vtime.Second // REACHABLE without a confirmation, then STALE
	delayTime     = 5 * vtime.Second  // DELAY_FIRST_PROBE_TIME
	retransTime   = 1 * vtime.Second  // RETRANS_TIMER
	maxRequests   = 3                 // MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT
	// negativeTime is how long a failed neighbour is not asked for again.
	negativeTime = 3 * vtime.Second
	// redirectLife is how long a redirect holds for new connections, as in the kernel (gc_timeout).
	redirectLife = 300 * vtime.Second
	// redirectShun is how long nobody may redirect to a neighbour that did not answer.
	redirectShun = 60 * vtime.Second
	// confirmGrain is how old a confirmation has to be to be written again: the entry is shared.
	confirmGrain = 1 * vtime.Second
	// maxKernelRequests is how often the kernel is asked for a neighbour, once every retransTime; it says
	// itself after three seconds that there is none.
	maxKernelRequests = 10
	// kernelConfirmGrain is how old a confirmation has to be for the kernel to be told another: a fraction
	// of the time for which it believes one (15 s to 45 s).
	kernelConfirmGrain = 5 * vtime.Second
	// sharedPoll is how often a worker looks whether another one, or the kernel, has received the answer
	// it waits for.
	sharedPoll = 1 * vtime.Millisecond
	// bufferRetry is how long a request waits that found no transmit buffer.
	bufferRetry = 1 * vtime.Millisecond
)

// Limits of [ICMPErrors].
const (
	// maxICMPErrors is how many ICMP errors and redirects are told in a second: more come only from an attacker, and a
	// real one is repeated. The others are dropped and counted.
	maxICMPErrors = 1000
	// maxICMPError is what is read of one, in octets: the headers and the quotation (RFC 1812 §4.3.2.3,
	// RFC 4443 §2.4). The rest is cut off.
	maxICMPError = 1500
	// icmpErrorPause is how long a socket that fails is left alone.
	icmpErrorPause = 100 * time.Millisecond
)

// Limits of the exception path.
const (
	// exceptionRing is the ring between a worker and the kernel's interface, each way, in octets. A
	// frame that finds the one up full is lost, counted; the one down is not read into while it is full.
	exceptionRing = 1 << 20
	// exceptionBatch is how many frames are read from the interface before the worker sees them.
	exceptionBatch = 32
	// maxRate bounds either rate, a second.
	maxRate = 40e9
	// meterBurst is how much of a rate may come at once, and at least so many frames and octets: two of
	// the longest.
	meterBurst     = 50 * vtime.Millisecond
	minBurstFrames = 16
	minBurstOctets = 1 << 17
	// interfaceQueue is how many frames the kernel keeps for a queue of its interface before it drops
	// some.
	interfaceQueue = 1000
)

// Limits of the mirror.
const (
	// defaultRing is the ring between one worker and the mirror, in octets; frames that find it full
	// are lost to the sniffers and counted.
	defaultRing, minRing, maxRing = 8 << 20, 256 << 10, 1 << 30
	// sinkBuffer is what one sink keeps for its writer, twice, in octets. Frames that find it full
	// are lost to that sink and counted.
	sinkBuffer = 4 << 20
	// maxMirrored is how many ports one mirror tells apart.
	maxMirrored = 16
	// maxSinks bounds the work per mirrored frame.
	maxSinks = 16
	// maxSnapLen is the most that is kept of a frame, in octets: a whole IP packet with its
	// Ethernet header.
	maxSnapLen = 65535 + 18
	// maxFilter is the longest filter program, in instructions (BPF_MAXINSNS).
	maxFilter = 4096
)
