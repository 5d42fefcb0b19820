package hostile

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/wire"
)

// An attacker attaches to toed as a client does, uses it as a client would often enough to have sockets of all
// kinds, and otherwise writes what it likes where it likes. It lives many short lives until it is killed.

const (
	answerPatience = 2 * time.Second
	openPatience   = 4 * time.Millisecond
	actsOfLife     = 600
	maxNumbers     = 512 // descriptors that one process may have open
	firstLoot      = 3   // descriptors that the parent passes on
)

type attacker struct {
	*rand.Rand
	count map[string]uint64 // since they were last told
	told  time.Time
	loot  []int  // descriptors of honest programs' sockets
	port  uint16 // of an honest listener

	control int
	region  int // the memory file
	status  int
	wake    []int
	mem     *shm.Region
	fds     []int // placeholders and others
	socks   []uint32
	listens []uint16
	seq     uint32
}

// beHostile attacks until it is killed.
func beHostile() int {
	seed, _ := strconv.ParseUint(os.Getenv(envSeed), 10, 64)
	port, _ := strconv.ParseUint(os.Getenv(envPort), 10, 16)
	a := &attacker{Rand: rand.New(rand.NewPCG(seed, 1)), count: map[string]uint64{}, control: -1, port: uint16(port)}
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: maxNumbers, Max: maxNumbers})
	for fd := firstLoot; fd < firstLoot+2; fd++ {
		if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil {
			a.loot = append(a.loot, fd)
		}
	}
	for {
		a.live()
	}
}

// did counts an act, and tells the parent now and then: what is not told dies with us.
func (a *attacker) did(what string) {
	a.count[what]++
	if now := time.Now(); now.Sub(a.told) > 20*time.Millisecond {
		a.told = now
		for _, name := range slices.Sorted(maps.Keys(a.count)) {
			fmt.Println(name, a.count[name])
		}
		clear(a.count)
	}
}

// breach tells what toed should not have let happen.
func (a *attacker) breach(format string, args ...any) {
	fmt.Println("breach", fmt.Sprintf(format, args...))
}

func (a *attacker) live() {
	defer a.leave()
	if a.IntN(10) == 0 {
		a.knock()
		return
	}
	if !a.dial() || !a.hello() {
		return
	}
	for range a.IntN(actsOfLife) {
		if a.mem.Detached() {
			a.did("detached")
			break
		}
		a.act()
	}
	a.search()
}

// knock opens many connections and says nothing sensible on them.
func (a *attacker) knock() {
	for range 1 + a.IntN(40) {
		if !a.dial() {
			return
		}
		switch a.IntN(4) {
		case 0:
			a.shout()
		case 1:
			m := a.anyMessage()
			m.Type, m.Abi = shm.MsgHello, a.Uint32()
			_, _, _ = a.ask(&m)
		case 2:
			a.fds = append(a.fds, a.control) // stays open for this life
			a.control = -1
		}
		a.did("knock")
		a.hangUp()
	}
}

func (a *attacker) dial() bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		a.giveUp(err)
		return false
	}
	a.control = fd
	tv := unix.NsecToTimeval(int64(answerPatience))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: os.Getenv(envSocket)}) == nil
}

// giveUp is for what the attacker itself cannot do without.
func (a *attacker) giveUp(err error) {
	if err != unix.EMFILE {
		fmt.Fprintln(os.Stderr, "attacker:", err)
		os.Exit(1)
	}
}

func (a *attacker) hangUp() {
	if a.control >= 0 {
		unix.Close(a.control)
	}
	a.control = -1
}

// leave ends a life in one of the ways.
func (a *attacker) leave() {
	if a.control >= 0 && a.IntN(3) == 0 {
		_ = a.send(&shm.Msg{Type: shm.MsgBye}, nil)
		a.did("bye")
	}
	a.hangUp()
	for _, fd := range slices.Concat(a.fds, a.wake) {
		unix.Close(fd)
	}
	if a.mem != nil {
		unix.Close(a.region)
		unix.Close(a.status)
		_ = a.mem.Close()
	}
	a.fds, a.wake, a.socks, a.listens, a.mem = nil, nil, nil, nil, nil
	a.did("life")
}

func (a *attacker) send(m *shm.Msg, fds []int) error {
	b, err := m.Append(nil)
	if err != nil {
		return err
	}
	return a.sendOctets(b, fds)
}

func (a *attacker) sendOctets(b []byte, fds []int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, err := unix.SendmsgN(a.control, b, oob, nil, unix.MSG_NOSIGNAL)
	return err
}

// ask sends a request and returns the answer with its descriptors; ok is false when toed has hung up.
func (a *attacker) ask(m *shm.Msg, fds ...int) (answer shm.Msg, got []int, ok bool) {
	a.seq++
	m.Seq = a.seq
	if a.send(m, fds) != nil {
		return answer, nil, false
	}
	buf, oob := make([]byte, shm.SizeofMsg), make([]byte, unix.CmsgSpace(4*shm.MaxMsgFDs))
	for {
		n, nc, _, _, err := unix.Recvmsg(a.control, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return answer, nil, false
		}
		if msgs, err := unix.ParseSocketControlMessage(oob[:nc]); err == nil {
			for i := range msgs {
				list, _ := unix.ParseUnixRights(&msgs[i])
				got = append(got, list...)
			}
		}
		if answer.Decode(buf[:n]) != nil {
			a.breach("an answer of %d octets", n)
			return answer, got, false
		}
		if answer.Seq == a.seq {
			return answer, got, true
		}
	}
}

func (a *attacker) hello() bool {
	m := shm.Msg{Type: shm.MsgHello, Magic: shm.Magic, Abi: shm.ABI}
	m.SetProgram("hostile")
	answer, got, ok := a.ask(&m)
	if !ok || answer.Error != 0 || len(got) < 3 {
		for _, fd := range got {
			unix.Close(fd)
		}
		a.did("turned")
		return false
	}
	mem, err := shm.Open(got[0])
	if err != nil {
		a.breach("a fresh region: %v", err)
		return false
	}
	a.mem, a.region, a.status, a.wake = mem, got[0], got[1], got[2:]
	a.did("hello")
	return true
}

// act does one thing: as often as not what a client does.
func (a *attacker) act() {
	acts := []struct {
		often int
		name  string
		do    func()
	}{
		{14, "open", a.open}, {6, "listen", a.listen}, {14, "write", a.write}, {8, "read", a.read}, {6, "close", a.close},
		{12, "command", a.command}, {14, "slot", a.scribbleSlot}, {8, "directory", a.scribbleDirectory},
		{3, "loan", a.scribbleLoan}, {2, "queue", a.scribbleQueue}, {4, "octets", a.scribble},
		{4, "event", a.events}, {1, "jam", a.jam}, {5, "message", a.message}, {1, "shout", a.shout}, {1, "unread", a.unread},
		{3, "probe", a.probe}, {2, "steal", a.steal}, {1, "file", a.file}, {2, "claim", a.claim}, {1, "flood", a.flood},
	}
	all := 0
	for _, x := range acts {
		all += x.often
	}
	n := a.IntN(all)
	for _, x := range acts {
		if n -= x.often; n < 0 {
			x.do()
			a.did(x.name)
			return
		}
	}
}

// number returns a number that is likely to matter.
func (a *attacker) number() uint64 {
	switch a.IntN(5) {
	case 0:
		return []uint64{0, 1, 1<<64 - 1, 1 << 31, 1 << 63, 1<<32 - 1, shm.ChunkBytes, shm.DirChunk, shm.CmdEntries}[a.IntN(9)]
	case 1:
		return uint64(a.IntN(300))
	case 2:
		return uint64(a.IntN(1 << 16))
	}
	return a.Uint64() >> a.IntN(64)
}

// near returns a number that may be a little off.
func (a *attacker) near(v uint64) uint64 {
	if a.IntN(2) == 0 {
		return v + uint64(a.IntN(5)) - 2
	}
	return a.number()
}

func (a *attacker) anySlot() uint32 {
	if len(a.socks) > 0 && a.IntN(4) != 0 {
		return a.socks[a.IntN(len(a.socks))]
	}
	return 1 + a.Uint32N(uint32(len(a.mem.Slots)-1))
}

func (a *attacker) post(worker int, c shm.Command) {
	tries := 0
	worker %= len(a.mem.CmdQs)
	a.mem.CmdQs[worker].Post(c, func() bool { shm.SignalEventFD(a.wake[worker]); tries++; return tries < 200 })
	shm.SignalEventFD(a.wake[worker])
}

// worker returns whose the slot is.
func (a *attacker) worker(slot uint32) int {
	each := uint32(len(a.mem.Slots)-1) / uint32(len(a.mem.CmdQs))
	return int((slot - 1) / each)
}

func (a *attacker) postOwn(op uint8, slot, arg uint32) {
	a.post(a.worker(slot), shm.Command{Op: op, Region: uint16(a.mem.Header.RegionId), Slot: slot, Arg: arg})
}

// keep remembers a descriptor for the end of this life.
func (a *attacker) keep(fd int) { a.fds = append(a.fds, fd) }

// placeholder makes a kernel socket with a port of its own.
func (a *attacker) placeholder(listen bool) (fd int, port uint16, ok bool) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		a.giveUp(err)
		return -1, 0, false
	}
	a.keep(fd)
	if unix.Bind(fd, &unix.SockaddrInet4{}) != nil {
		return -1, 0, false
	}
	if listen && unix.Listen(fd, 8) != nil {
		return -1, 0, false
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return -1, 0, false
	}
	return fd, uint16(sa.(*unix.SockaddrInet4).Port), true
}

// request opens a slot with a placeholder, as a client does.
func (a *attacker) request(op uint8, port uint16) {
	n := a.mem.SlotLoans[a.IntN(len(a.mem.SlotLoans))].Take()
	if n == 0 || n >= uint32(len(a.mem.Slots)) {
		return
	}
	fd, local, ok := a.placeholder(op == shm.OpPassOpenReq)
	if !ok {
		return
	}
	if a.IntN(8) != 0 {
		_, got, _ := a.ask(&shm.Msg{Type: shm.MsgProbe}, fd)
		for _, fd := range got {
			a.keep(fd)
		}
	}
	p := &a.mem.Slots[n]
	p.ReqFamily, p.ReqLocalPort, p.ReqRemotePort = 4, local, port
	p.ReqRemoteAddr = wire.AddrFrom4([4]byte{10, 98, 0, 1})
	p.ReqLocalAddr = [16]uint8{}
	if cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err == nil {
		p.CookieLo, p.CookieHi = uint32(cookie), uint32(cookie>>32)
	}
	atomic.StoreUint32(&p.State, shm.SlotOpening)
	a.postOwn(op, n, 8)
	for end := time.Now().Add(openPatience); time.Now().Before(end) && !a.mem.Detached(); runtime.Gosched() {
		if s := atomic.LoadUint32(&p.State); s != shm.SlotOpening && s != shm.SlotSynSent {
			break
		}
	}
	switch atomic.LoadUint32(&p.State) {
	case shm.SlotEstablished:
		a.did("established")
	case shm.SlotListen:
		a.did("listening")
		a.listens = append(a.listens, local)
	case shm.SlotDeclined:
		a.did("declined")
	}
	a.socks = append(a.socks, n)
}

func (a *attacker) open() {
	port := a.port
	if len(a.listens) > 0 && a.IntN(8) != 0 {
		port = a.listens[a.IntN(len(a.listens))]
	}
	a.request(shm.OpActOpenReq, port)
}

func (a *attacker) listen() { a.request(shm.OpPassOpenReq, 0) }

func (a *attacker) write() {
	n := a.anySlot()
	p := &a.mem.Slots[n]
	e := a.mem.Entry(&p.TxEntry, p.TxDir, p.TxProd>>shm.ChunkShift)
	if e == nil {
		return
	}
	if p.TxProd%shm.ChunkBytes == 0 {
		c := a.mem.ChunkLoans[a.worker(n)].Take()
		if c == 0 {
			return
		}
		*e = c
	}
	room := shm.ChunkBytes - p.TxProd%shm.ChunkBytes
	atomic.StoreUint64(&p.TxProd, p.TxProd+1+a.Uint64N(room))
	a.postOwn(shm.OpTxData, n, 0)
}

// read takes what there is, an accepted connection too.
func (a *attacker) read() {
	n := a.anySlot()
	p := &a.mem.Slots[n]
	prod := atomic.LoadUint64(&p.RxProd)
	if p.State == shm.SlotListen && prod-p.RxCons >= shm.SizeofAccept {
		var rec [shm.SizeofAccept]byte
		if a.mem.ReadStream(&p.RxEntry, p.RxDir, p.RxCons, rec[:]) {
			if acc := shm.ParseAccept(rec); acc.Slot != 0 && acc.Slot < uint32(len(a.mem.Slots)) {
				a.socks = append(a.socks, acc.Slot)
				a.postOwn(shm.OpPassAcceptRpl, acc.Slot, n)
			}
		}
		prod = p.RxCons + shm.SizeofAccept
	}
	atomic.StoreUint64(&p.RxCons, prod)
	a.postOwn(shm.OpRxDataAck, n, 0)
}

func (a *attacker) close() {
	ops := []uint8{shm.OpCloseConReq, shm.OpAbortReq, shm.OpShutdown, shm.OpCloseShared, shm.OpSlotReturn}
	a.postOwn(ops[a.IntN(len(ops))], a.anySlot(), a.Uint32N(4))
}

// command posts one of any kind: those that end the region at once are rare.
func (a *attacker) command() {
	c := shm.Command{
		Op: uint8(1 + a.IntN(shm.OpSlotReturn)), Flags: uint8(a.IntN(2)), Region: uint16(a.mem.Header.RegionId),
		Slot: a.anySlot(), Arg: a.Uint32N(24),
	}
	worker := a.worker(c.Slot)
	switch a.IntN(60) {
	case 0:
		c.Op = uint8(a.Uint32())
	case 1:
		c.Region = uint16(a.near(uint64(c.Region)))
	case 2:
		c.Slot = uint32(a.near(uint64(c.Slot)))
	case 3:
		c.Arg = uint32(a.number())
	case 4:
		worker = a.IntN(len(a.mem.CmdQs))
	}
	a.post(worker, c)
}

func (a *attacker) scribbleSlot() {
	p := &a.mem.Slots[a.anySlot()]
	long := []*uint64{
		&p.TxProd, &p.RxCons, &p.TxCons, &p.RxProd, &p.TxLimit, &p.EqMask, &p.EqPending, &p.ReqValue, &p.TxSent,
		&p.RxUrg, &p.TxUrg, &p.RxUrgRead, &p.ReqMaxPacing,
	}
	short := []*uint32{
		&p.State, &p.Gen, &p.RxFlags, &p.TxFlags, &p.EventSeq, &p.TxLowat, &p.RxDir, &p.EorCons, &p.TxDir, &p.TxBegun,
		&p.CookieLo, &p.CookieHi, &p.EorProd, &p.CmdPending, &p.Waiters, &p.Error, &p.RxLock, &p.TxLock, &p.Shared,
		&p.TxNospace, &p.ReqRcvbuf, &p.ReqSndbuf, &p.ReqMaxseg, &p.ReqLowat, &p.ReqFastopenLen, &p.ReqClamp,
		&p.ReqUserTimeout, &p.TxEor[a.IntN(shm.EORs)],
	}
	switch a.IntN(12) {
	case 0, 1, 2:
		w := long[a.IntN(len(long))]
		atomic.StoreUint64(w, a.near(*w))
	case 3, 4:
		p.Worker, p.Family = uint16(a.number()), uint16(a.number())
	case 5:
		p.ReqFamily, p.ReqReuseport, p.ReqFastopen = uint16(4+a.IntN(3)), uint8(a.Uint32()), uint8(a.Uint32())
	default:
		w := short[a.IntN(len(short))]
		atomic.StoreUint32(w, uint32(a.near(uint64(*w))))
	}
}

func (a *attacker) scribbleDirectory() {
	n := a.anySlot()
	p := &a.mem.Slots[n]
	v := uint32(a.near(a.Uint64N(uint64(a.mem.Chunks))))
	switch a.IntN(6) {
	case 0:
		atomic.StoreUint32(&p.RxEntry[a.IntN(shm.DirInline)], v)
	case 1:
		atomic.StoreUint32(&p.TxEntry[a.IntN(shm.DirInline)], v)
	case 2, 3: // a directory out of the loan, as a client takes one
		if c := a.mem.ChunkLoans[a.worker(n)].Take(); c != 0 && c < uint32(a.mem.Chunks) {
			dir := a.mem.DirEntries(c)
			for i := range dir {
				dir[i] = p.TxEntry[i%shm.DirInline]
			}
			atomic.StoreUint32(&p.TxDir, shm.MakeDir(1+a.IntN(2), c))
		}
	case 4:
		atomic.StoreUint32(&p.TxDir, shm.MakeDir(a.IntN(4), v%uint32(a.mem.Chunks)))
	case 5:
		dir := a.mem.DirEntries(a.Uint32N(uint32(a.mem.Chunks)))
		atomic.StoreUint32(&dir[a.IntN(shm.DirChunk)], v)
	}
}

func (a *attacker) scribbleLoan() {
	loans := a.mem.ChunkLoans
	if a.IntN(2) == 0 {
		loans = a.mem.SlotLoans
	}
	l := &loans[a.IntN(len(loans))]
	switch a.IntN(8) {
	case 0:
		atomic.StoreUint32(&l.Cons, uint32(a.near(uint64(l.Cons))))
	case 1:
		atomic.StoreUint32(&l.Prod, uint32(a.near(uint64(l.Prod))))
	default:
		l.Entry[a.IntN(shm.LoanEntries)] = uint32(a.number())
	}
}

func (a *attacker) scribbleQueue() {
	q := &a.mem.CmdQs[a.IntN(len(a.mem.CmdQs))]
	e := &q.Entry[a.IntN(shm.CmdEntries)]
	switch a.IntN(3) {
	case 0:
		atomic.StoreUint32(&q.Tail, uint32(a.near(uint64(q.Tail))))
	case 1:
		atomic.StoreUint32(&e.Stamp, uint32(a.near(uint64(e.Stamp))))
	default:
		e.Op, e.Region, e.Slot = uint8(a.Uint32()), uint16(a.Uint32()), a.Uint32()
	}
}

// scribble writes octets anywhere in the memory file, the header included.
func (a *attacker) scribble() {
	h := a.mem.Header
	ends := []uint64{shm.SizeofHeader, h.EqOff, h.SlotLoanOff, h.SlotOff, h.ChunkOff, h.RegionBytes}
	b := make([]byte, 1+a.IntN(64))
	for i := range b {
		b[i] = byte(a.number())
	}
	if end := ends[a.IntN(len(ends))]; end > 0 {
		_, _ = unix.Pwrite(a.region, b, int64(a.Uint64N(end)))
	}
}

func (a *attacker) events() {
	m := shm.Msg{Type: shm.MsgEQAlloc, RegionId: a.mem.Header.RegionId}
	if a.IntN(3) == 0 {
		m.Type, m.Eq = shm.MsgEQFree, uint32(a.IntN(shm.MaxEQs+1))
		_, _, _ = a.ask(&m)
		return
	}
	fd, ok := a.anything()
	if !ok {
		return
	}
	answer, _, _ := a.ask(&m, fd)
	if answer.Error == 0 {
		p := &a.mem.Slots[a.anySlot()]
		atomic.StoreUint64(&p.EqMask, 1<<(answer.Eq%shm.MaxEQs))
		atomic.StoreUint32(&a.mem.EQs[answer.Eq%shm.MaxEQs].Sleeping, 1)
	}
}

// jam has a worker write an eventfd that blocks, now and then.
func (a *attacker) jam() {
	if a.IntN(8) != 0 {
		return
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return
	}
	a.keep(fd)
	answer, _, ok := a.ask(&shm.Msg{Type: shm.MsgEQAlloc, RegionId: a.mem.Header.RegionId}, fd)
	if !ok || answer.Error != 0 {
		return
	}
	_ = unix.SetNonblock(fd, false)
	_, _ = unix.Write(fd, []byte{254, 255, 255, 255, 255, 255, 255, 255})
	for _, n := range a.socks {
		atomic.StoreUint64(&a.mem.Slots[n].EqMask, 1<<(answer.Eq%shm.MaxEQs))
	}
	atomic.StoreUint32(&a.mem.EQs[answer.Eq%shm.MaxEQs].Sleeping, 1)
}

// anything makes a descriptor of any kind.
func (a *attacker) anything() (int, bool) {
	fd, err := -1, error(unix.EINVAL)
	switch a.IntN(12) {
	case 0, 1, 2:
		fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	case 3:
		fd, err = unix.Open("/dev/zero", unix.O_RDWR|unix.O_CLOEXEC, 0)
	case 4:
		fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	case 5:
		fd, err = unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	case 6:
		fd, err = unix.FcntlInt(uintptr(a.control), unix.F_DUPFD_CLOEXEC, 0)
	case 7:
		fd, err = unix.FcntlInt(uintptr(a.region), unix.F_DUPFD_CLOEXEC, 0)
	case 8:
		fd, err = unix.MemfdCreate("[eventfd]", unix.MFD_CLOEXEC)
	case 9:
		var p [2]int
		if err = unix.Pipe2(p[:], unix.O_CLOEXEC); err == nil {
			a.keep(p[0])
			fd = p[1]
		}
	case 10:
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	case 11:
		// A cycle: a socket whose queue holds its own peer.
		var p [2]int
		if p, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0); err == nil {
			_ = unix.Sendmsg(p[0], []byte{0}, unix.UnixRights(p[0], p[1]), nil, unix.MSG_DONTWAIT)
			a.keep(p[0])
			fd = p[1]
		}
	}
	if err != nil {
		return -1, false
	}
	a.keep(fd)
	return fd, true
}

// anyMessage returns a message with a few fields set to anything.
func (a *attacker) anyMessage() shm.Msg {
	m := shm.Msg{Type: 1 + a.Uint32N(shm.MsgDetach+2)}
	if a.mem != nil {
		m.RegionId, m.Token = a.mem.Header.RegionId, a.mem.Header.Token
	}
	for range a.IntN(4) {
		words := []*uint32{&m.RegionId, &m.Slot, &m.Gen, &m.Eq, &m.Naddrs, &m.InfoLen}
		w := words[a.IntN(len(words))]
		*w = uint32(a.near(uint64(*w)))
	}
	if a.IntN(4) == 0 {
		m.Token[a.IntN(len(m.Token))] ^= byte(1 + a.IntN(255))
		for i := range m.U {
			m.U[i] = byte(a.Uint32())
		}
	}
	return m
}

// message sends any message with any descriptors. What comes back it keeps.
func (a *attacker) message() {
	m := a.anyMessage()
	if m.Type == shm.MsgBye && a.IntN(10) != 0 {
		m.Type = shm.MsgInfo
	}
	var fds []int
	for range []int{0, 0, 1, 1, 2, 20}[a.IntN(6)] {
		if fd, ok := a.anything(); ok {
			fds = append(fds, fd)
		}
	}
	answer, got, ok := a.ask(&m, fds...)
	for _, fd := range got {
		a.keep(fd)
	}
	own := bytes.Equal(m.Token[:], a.mem.Header.Token[:])
	if ok && m.Type == shm.MsgAttach && answer.Error == 0 && !own && answer.RegionId != m.RegionId {
		a.breach("a wrong token led to region %d", answer.RegionId)
	}
}

// shout sends what is no message: toed hangs up.
func (a *attacker) shout() {
	b := make([]byte, a.IntN(2*shm.SizeofMsg))
	for i := range b {
		b[i] = byte(a.Uint32())
	}
	var fds []int
	for range a.IntN(3) * 60 {
		fds = append(fds, 0)
	}
	_ = a.sendOctets(b, fds)
}

// unread asks much and reads none of the answers.
func (a *attacker) unread() {
	m := a.anyMessage()
	m.Type = shm.MsgInfo
	b, _ := m.Append(nil)
	for range 300 {
		if unix.Sendmsg(a.control, b, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT) != nil {
			return
		}
	}
}

// probe shows toed sockets that it does not have, or has of us.
func (a *attacker) probe() {
	fd, _, ok := a.placeholder(a.IntN(2) == 0)
	if !ok {
		return
	}
	_, got, _ := a.ask(&shm.Msg{Type: shm.MsgProbe}, fd)
	for _, fd := range got {
		a.keep(fd)
	}
}

// steal shows toed a descriptor of another user's socket.
func (a *attacker) steal() {
	if len(a.loot) == 0 || os.Geteuid() == 0 {
		return // one user: nothing to steal
	}
	_, got, _ := a.ask(&shm.Msg{Type: shm.MsgProbe}, a.loot[a.IntN(len(a.loot))])
	for _, fd := range got { // of another attacker of our user, who has claimed it
		a.keep(fd)
		if mem, err := shm.Open(fd); err == nil {
			a.searchIn(mem)
			_ = mem.Close()
		}
	}
}

// claim writes the cookie of another's socket into a slot of ours.
func (a *attacker) claim() {
	if len(a.loot) == 0 {
		return
	}
	cookie, err := unix.GetsockoptUint64(a.loot[a.IntN(len(a.loot))], unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return
	}
	p := &a.mem.Slots[a.anySlot()]
	atomic.StoreUint32(&p.CookieLo, uint32(cookie))
	atomic.StoreUint32(&p.CookieHi, uint32(cookie>>32))
}

// file does to the memory files what their seals must not allow, and what they do.
func (a *attacker) file() {
	size := int64(a.mem.Bytes())
	if unix.Ftruncate(a.region, size/2) == nil || unix.Ftruncate(a.region, 2*size) == nil {
		a.breach("a region was resized")
	}
	if _, err := unix.FcntlInt(uintptr(a.region), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err == nil {
		a.breach("a region was sealed")
	}
	if _, err := unix.Write(a.status, []byte{1}); err == nil {
		a.breach("the status page was written")
	}
	for _, fd := range []int{a.status, a.reopen(a.status)} {
		if mem, err := unix.Mmap(fd, 0, shm.SizeofStatus, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
			a.breach("the status page was mapped for writing")
			_ = unix.Munmap(mem)
		}
	}
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	_ = unix.Fallocate(a.region, mode, int64(a.Uint64N(uint64(size))), 1+int64(a.IntN(1<<20)))
}

// reopen opens a descriptor's file anew, for writing.
func (a *attacker) reopen(fd int) int {
	again, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	a.keep(again)
	return again
}

// flood posts as fast as it can.
func (a *attacker) flood() {
	for range a.IntN(3000) {
		if a.mem.Detached() {
			return
		}
		a.command()
	}
}

// search looks for the honest programs' octets in the memory that toed has given us.
func (a *attacker) search() {
	a.searchIn(a.mem)
	a.did("search")
}

func (a *attacker) searchIn(mem *shm.Region) {
	secret := []byte(os.Getenv(envSecret))
	for c := range uint32(mem.Chunks) {
		if bytes.Contains(mem.Chunk(c), secret) {
			a.breach("chunk %d has an honest program's octets", c)
		}
	}
}
