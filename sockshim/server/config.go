package server

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// ControlSocket is the name of the control socket in Config.Dir.
const ControlSocket = "toed.sock"

// Config is what a Server is made from. Zero fields have the default that the comment names.
type Config struct {
	Dir         string        // runtime directory; required, must exist
	SocketMode  os.FileMode   // of the control socket; 0666
	SocketGroup uint32        // that the control socket belongs to; 0: as it is made
	Registry    *toe.Registry // routes active opens and starts listeners; required
	Slots       int           // sockets per client; 4096
	Memory      int64         // octets of chunks per client; 256 MiB
	Clients     int           // client processes at a time; 256
	UserClients int           // of them, those of one user other than root; three quarters
	UserSockets int           // sockets of all programs of such a user together; 0: no limit
	UserMemory  int64         // octets of their memory files; 0: no limit
	UserOpens   int           // sockets that they may open a second, and at once; 0: no limit
	OverQuota   OverQuota     // what an open becomes that is over UserSockets or UserOpens

	AnyNamespace bool         // sockets of other network namespaces than toed's may use the TOE, too
	Policy       Policy       // nil: offload whatever the device takes
	Rules        *toe.Policy  // nil: none; asked after Policy
	Log          *slog.Logger // nil: slog.Default()
}

// OverQuota is what becomes of an open for which a user's quota is used up.
type OverQuota uint8

// The choices.
const (
	LeaveToKernel OverQuota = iota
	Refuse                  // ENOBUFS
)

// Query describes a socket that a client wants offloaded.
type Query struct {
	Listen  bool
	Request *toe.ConnectRequest // active opens
	Address *toe.Listener       // listens
	Program string
	UID     uint32
	PID     int32
}

// Policy decides about a socket; anything but toe.Offloaded declines it with that reason. It is
// called on a worker: it must not block or allocate, and not keep q.
type Policy func(q *Query) toe.Reason

// Limits. What happens when one is hit stands beside it.
const (
	maxRegions     = 1<<16 - 1  // HELLO answers ENOMEM
	maxSlots       = 1<<24 - 1  // New refuses more: a slot's number has 24 bits
	minMemory      = 1 << 20    // New refuses less; a worker's share of a region is no less either
	pollBudget     = 256        // commands a poll takes from one client; the rest waits for the next
	maxWakes       = 256        // sockets whose waiters are woken at the end of a poll; earlier when more
	lendChunks     = 64         // chunks in a client's loan, at most an eighth of its share
	lendSlots      = 32         // slots likewise
	txLimitInitial = 15 << 14   // octets a sender may be ahead; what the inline directory holds
	txLimitMax     = 4 << 20    // up to which the limit grows with use
	sndBufMax      = 1 << 30    // SO_SNDBUF is cut to this
	synRetriesMax  = 127        // as in Linux
	sndBufMin      = 4096       // and raised to this
	rxKeep         = 8          // 1/rxKeep of a share's chunks is kept for sending
	backlogMax     = 4096       // listen backlogs are cut to this
	admitReserve   = 64         // slots that a SYN leaves to the handshakes under way; more of those may find none at their end
	acceptSlack    = 16         // connections beyond the backlog that may wait for accept; then refused
	populateEQs    = 8          // event queues of a new region that are touched in advance
	populateSlots  = 256        // slots likewise
	populateChunks = 64         // chunks likewise
	quietMax       = 1024       // quiet sockets that keep their chunks while the worker is busy
	sweepBatch     = 64         // quiet sockets looked at in one go
	listBatch      = 256        // slots of a region that are listed in one turn of a worker
	declinesKept   = 32         // opens left to the kernel that are remembered of each client and worker; then the oldest is forgotten
	shownKept      = 64         // sockets shown and not opened that are remembered of each client; then the oldest has to be shown again
	maxUserOpens   = 1000000000 // New refuses more
	pastDeclines   = 256        // and of all clients that are gone
)

// Patience with clients and with the kernel.
const (
	helloWithin = 10 * time.Second        // a connection that says no HELLO for so long is closed
	admitNote   = vtime.Second            // a listener whose connections find no room is remembered once in so long
	readWithin  = 5 * time.Second         // a client that leaves so many answers unread that no more fit, and for so long, is hung up on: it may be in its own queue
	acceptPause = 100 * time.Millisecond  // until the next accept when descriptors or memory are short
	turnedFor   = 10 * vtime.Second       // after a process was turned away, listeners that nobody accepts from are looked for
	stallTime   = 100 * vtime.Millisecond // a listener is one when nobody has taken what waits for so long
)

// ErrServed means that another toed serves the runtime directory.
var ErrServed = errors.New("another toed serves the runtime directory")

func (c *Config) normalize() error {
	if c.Dir == "" || c.Registry == nil {
		return fmt.Errorf("server: Dir and Registry are required: %w", toe.ErrInvalid)
	}
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Slots, 4096)
	def(&c.Clients, 256)
	def(&c.UserClients, max(c.Clients*3/4, 1))
	if c.Memory == 0 {
		c.Memory = 256 << 20
	}
	if c.SocketMode == 0 {
		c.SocketMode = 0o666
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	switch {
	case c.Slots < 2 || c.Slots > maxSlots:
		return fmt.Errorf("server: %d slots per client, want 2 to %d: %w", c.Slots, maxSlots, toe.ErrInvalid)
	case c.Memory < minMemory || c.Memory > 1<<40:
		return fmt.Errorf("server: %d octets per client, want %d to %d: %w", c.Memory, minMemory, int64(1)<<40, toe.ErrInvalid)
	case c.Clients < 1 || c.Clients > maxRegions:
		return fmt.Errorf("server: %d clients, want 1 to %d: %w", c.Clients, maxRegions, toe.ErrInvalid)
	case c.UserSockets < 0 || c.UserMemory < 0 || c.UserOpens < 0 || c.UserOpens > maxUserOpens:
		return fmt.Errorf("server: quota of a user below 0, or more than %d opens a second: %w", maxUserOpens, toe.ErrInvalid)
	case c.UserClients < 1 || c.UserClients > c.Clients:
		return fmt.Errorf("server: %d clients of a user, want 1 to %d: %w", c.UserClients, c.Clients, toe.ErrInvalid)
	}
	return nil
}

// geometry returns the layout of a client's region with so much memory for a device with n workers. Every
// worker gets the same number of slots and chunks; number 0 is nobody's.
func (c *Config) geometry(n int, memory int64) shm.Geometry {
	return shm.Geometry{
		Workers: n,
		Slots:   1 + n*max(c.Slots/n, 2),
		Chunks:  1 + n*int(max(memory/int64(n), minMemory)>>shm.ChunkShift),
		EQs:     shm.MaxEQs,
	}
}
