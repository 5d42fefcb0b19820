package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
)

// serve has the rig's server accept clients.
func (r *rig) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.srv.Serve(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		require.NoError(r.t, <-served)
	})
}

// control opens a control connection.
func (r *rig) control() *net.UnixConn {
	r.t.Helper()
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: r.srv.SocketPath(), Net: "unixpacket"})
	require.NoError(r.t, err)
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// request sends a message with descriptors and returns the answer.
func (r *rig) request(conn *net.UnixConn, m shm.Msg, fds ...int) (shm.Msg, error) {
	b, err := m.Append(nil)
	require.NoError(r.t, err)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if _, _, err = conn.WriteMsgUnix(b, oob, nil); err != nil {
		return shm.Msg{}, err
	}
	return r.answer(conn)
}

func (r *rig) answer(conn *net.UnixConn) (shm.Msg, error) {
	buf, oob := make([]byte, shm.SizeofMsg+1), make([]byte, unix.CmsgSpace(4*shm.MaxMsgFDs))
	n, nc, _, _, err := conn.ReadMsgUnix(buf, oob)
	for _, fd := range receivedFDs(oob[:nc]) {
		unix.Close(fd)
	}
	if err != nil {
		return shm.Msg{}, err
	}
	var m shm.Msg
	require.NoError(r.t, m.Decode(buf[:n]))
	return m, nil
}

var helloMsg = shm.Msg{Type: shm.MsgHello, Magic: shm.Magic, Abi: shm.ABI}

// descriptors counts the process's open descriptors of f's file.
func descriptors(t *testing.T, f *os.File) (n int) {
	t.Helper()
	want, err := f.Stat()
	require.NoError(t, err)
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range list {
		if st, err := os.Stat("/proc/self/fd/" + e.Name()); err == nil && os.SameFile(st, want) {
			n++
		}
	}
	return n
}

// TestDescriptorsAreClosed sends descriptors where none are wanted, more than fit, and beside
// messages that are none. toed keeps none of them.
func TestDescriptorsAreClosed(t *testing.T) {
	r := newRig(t, 1, nil)
	r.serve()
	f, err := os.Create(t.TempDir() + "/file")
	require.NoError(t, err)
	defer f.Close()
	many := make([]int, 200)
	for i := range many {
		many[i] = int(f.Fd())
	}
	hello, err := helloMsg.Append(nil)
	require.NoError(t, err)
	probe := shm.Msg{Type: shm.MsgProbe}
	probing, err := probe.Append(nil)
	require.NoError(t, err)
	for name, first := range map[string][]byte{
		"an octet": {1}, "too much": make([]byte, 2*shm.SizeofMsg), "a message": hello, "a probe": probing,
	} {
		t.Run(name, func(t *testing.T) {
			conn := r.control()
			_, _, err := conn.WriteMsgUnix(first, unix.UnixRights(many...), nil)
			require.NoError(t, err)
			_, _ = r.answer(conn) // or the end
			require.Eventually(t, func() bool { return descriptors(t, f) == 1 }, waitFor, tick)
		})
	}
}

// TestEmptyPacket: a packet of no octets looks like the end of the connection, and yet descriptors may
// come with it.
func TestEmptyPacket(t *testing.T) {
	r := newRig(t, 1, nil)
	r.serve()
	f, err := os.Create(t.TempDir() + "/file")
	require.NoError(t, err)
	defer f.Close()
	bin := t.TempDir() + "/empty"
	out, err := exec.Command("gcc", "-Wall", "-Werror", "-o", bin, "testdata/empty.c").CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.Command(bin, r.srv.SocketPath())
	cmd.Stdin = f
	require.NoError(t, cmd.Run())
	require.Eventually(t, func() bool { return descriptors(t, f) == 1 }, waitFor, tick)
}

// TestNoHello: a connection that does not introduce itself does not keep its place.
func TestNoHello(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.Clients = 2 })
	r.srv.hello = 20 * time.Millisecond
	r.serve()
	silent := r.control()
	_, err := r.answer(silent)
	require.Error(t, err, "hung up on")
	polite := r.control()
	_, err = r.request(polite, helloMsg)
	require.NoError(t, err)
	require.NoError(t, polite.SetReadDeadline(time.Now().Add(3*r.srv.hello)))
	_, err = r.answer(polite)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "a client may be silent for ever")
}

func TestClientsPerUser(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.Clients, c.UserClients = 8, 2 })
	admit := func(uid uint32) bool { return r.srv.admit(&client{srv: r.srv, cred: unix.Ucred{Uid: uid}}) }
	require.True(t, admit(1000))
	require.True(t, admit(1000))
	require.False(t, admit(1000), "its user has as many as one may")
	require.True(t, admit(1001))
	for range 4 { // with the rig's own client there are four
		require.True(t, admit(0), "root may have all")
	}
	require.False(t, admit(0))
	require.False(t, admit(1002))
	require.EqualValues(t, 3, r.srv.Counters().Turned)
	clear(r.srv.clients)
	r.srv.clients[r.c] = struct{}{}
}

// TestShortage: descriptors run out; toed goes on when there are some again.
func TestShortage(t *testing.T) {
	r := newRig(t, 1, nil)
	r.serve()
	waiting := r.control()
	_, err := r.request(waiting, helloMsg)
	require.NoError(t, err)
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	low := old
	low.Cur = uint64(fd) + 1 // fd is the last one, unless there are gaps below: fill them
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	var fill []int
	for {
		gap, err := unix.Dup(0)
		if err != nil {
			require.ErrorIs(t, err, unix.EMFILE)
			break
		}
		fill = append(fill, gap)
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: r.srv.SocketPath()})
	short := make(chan struct{})
	time.AfterFunc(2*acceptPause, func() { close(short) })
	<-short // the server has met EMFILE, or will: either is fine for what follows
	for _, gap := range fill {
		unix.Close(gap)
	}
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
	require.NoError(t, err)
	b, err := helloMsg.Append(nil)
	require.NoError(t, err)
	require.NoError(t, unix.Send(fd, b, 0))
	n, _, err := unix.Recvfrom(fd, b, 0)
	require.NoError(t, err)
	require.Equal(t, shm.SizeofMsg, n, "it is served")
}

func TestPassing(t *testing.T) {
	require.True(t, passing(&net.OpError{Err: os.NewSyscallError("accept4", unix.EMFILE)}))
	require.False(t, passing(net.ErrClosed))
	require.False(t, passing(errors.New("else")))
}

// TestAfterDetach: requests of clients whose device has gone are refused, also those that come before
// the client is hung up on.
func TestAfterDetach(t *testing.T) {
	r := newRig(t, 1, nil)
	r.connect(0)
	r.srv.Detach(r.dev)
	require.Equal(t, unix.ENOENT, r.c.eqAlloc(&shm.Msg{RegionId: r.reg.id}, []int{eventFD(t)}))
	require.Equal(t, unix.ENOENT, r.c.eqFree(&shm.Msg{RegionId: r.reg.id}))
	require.Equal(t, unix.ENOENT, r.c.connInfo(&shm.Msg{RegionId: r.reg.id, Slot: 1}))
	fd, _ := placeholder(t)
	defer unix.Close(fd)
	_, errno := r.c.probe(&shm.Msg{}, []int{fd})
	require.Equal(t, unix.ENOENT, errno)
	r.srv.clientGone(r.c)
	require.Equal(t, Usage{}, r.srv.Usage())
}

// TestEQFreeWhileStuck: a client gives up the event queue whose eventfd it has made hold up the
// worker. The worker gets free all the same.
func TestEQFreeWhileStuck(t *testing.T) {
	r := newRig(t, 1, nil)
	m := r.jam()
	freed := make(chan unix.Errno, 1)
	go func() {
		for r.l.workers[0].signaller.turn.Load() == 0 { // until the worker writes
			time.Sleep(tick)
		}
		freed <- r.c.eqFree(&m)
	}()
	r.dev.iterate() // returns, though its write blocks
	require.Zero(t, <-freed)
	require.EqualValues(t, -1, r.reg.eqs[m.Eq].fd.Load())
}

// TestStatusPageIsReadOnly: what clients get of the status page cannot be made writable.
func TestStatusPageIsReadOnly(t *testing.T) {
	r := newRig(t, 1, nil)
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", r.l.status.FD()), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		_, err = unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		require.ErrorIs(t, err, unix.EPERM)
		_, err = unix.Pwrite(fd, []byte{1}, 0)
		require.ErrorIs(t, err, unix.EPERM)
		require.ErrorIs(t, unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096), unix.EPERM)
	}
	require.Error(t, unix.Ftruncate(r.reg.fd, 0), "nor can a region be made smaller")
}

// TestInItsOwnQueue: a client that sends its own end of the control connection over it, reads no answers and
// dies, is held by nobody but toed's own queue. It is hung up on all the same.
func TestInItsOwnQueue(t *testing.T) {
	r := newRig(t, 1, nil)
	r.srv.unread = 10 * time.Millisecond
	r.serve()
	conn := r.control()
	_, err := r.request(conn, helloMsg)
	require.NoError(t, err)
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	info := shm.Msg{Type: shm.MsgInfo}
	b, err := info.Append(nil)
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		for err = error(nil); err == nil; { // until toed is held up, and so are we
			err = unix.Sendmsg(int(fd), b, unix.UnixRights(int(fd)), nil, unix.MSG_DONTWAIT)
		}
	}))
	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool { r.dev.iterate(); return r.srv.Usage().Clients == 1 }, waitFor, tick)
}
