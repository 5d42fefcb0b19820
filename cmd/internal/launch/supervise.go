package launch

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/client"
	"opentoe/sockshim/notify"
)

// Names under which the executable runs as something else than the command. The supervisor is no child of the program,
// which may wait for all that it has: it is a grandchild whose parent has ended.
const (
	forkName       = "toerun-fork"
	supervisorName = "toerun-supervisor"
)

// channelFD is where both have the channel to the program-to-be.
const channelFD = 3

// ErrStranded is what [Attend] returns when the supervisor has ended too late to do without it.
var ErrStranded = errors.New("it has left the program alone")

// message is what the program-to-be and its supervisor tell each other, in this order: the supervisor its process
// number, when it has toed; the program where to look; the supervisor that it could; the program, with the descriptor of
// the notifications, that it is about to start; the supervisor that it serves.
type message struct {
	Error string `json:"error,omitempty"`
	PID   int    `json:"pid,omitempty"`
	FD    int    `json:"fd,omitempty"`
	Addr  uint64 `json:"addr,omitempty"`
	Mark  []byte `json:"mark,omitempty"`
}

// channel is one end of a SOCK_SEQPACKET pair.
type channel int

func (c channel) tell(m message, fds ...int) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(int(c), b, oob, nil, unix.MSG_NOSIGNAL)
}

// hear reads a message, and the descriptor that came with it (-1: none).
func (c channel) hear() (m message, fd int, err error) {
	b, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, nc, _, _, err := unix.Recvmsg(int(c), b, oob, unix.MSG_CMSG_CLOEXEC)
	switch {
	case err != nil:
		return m, -1, err
	case n == 0:
		return m, -1, errors.New("the supervisor has ended")
	}
	fd = -1
	if list, err := unix.ParseSocketControlMessage(oob[:nc]); err == nil && len(list) == 1 {
		if fds, err := unix.ParseUnixRights(&list[0]); err == nil && len(fds) == 1 {
			fd = fds[0]
		}
	}
	if err = json.Unmarshal(b[:n], &m); err == nil && m.Error != "" {
		err = errors.New(m.Error)
	}
	return m, fd, err
}

// Attend puts this thread's socket calls, and those of what it becomes and starts, under a supervisor of its own,
// which serves them over the toed of socket. The caller becomes the program next, on this thread. When it fails, nothing has
// changed, or, with [ErrStranded], no socket call succeeds any more.
func Attend(program, socket string) error {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	here := channel(p[0])
	defer unix.Close(p[0]) // unless the program has taken our place: then exec does
	cmd := exec.Command("/proc/self/exe", socket, filepath.Base(program))
	cmd.Args[0] = forkName
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(p[1]), "channel")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Run()
	cmd.ExtraFiles[0].Close()
	if err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	if err := attend(here); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	return nil
}

func attend(c channel) error {
	m, _, err := c.hear()
	if err != nil {
		return err
	}
	// Where Yama restricts ptrace, only whom we name may look; elsewhere there is no such call.
	_ = unix.Prctl(unix.PR_SET_PTRACER, uintptr(m.PID), 0, 0, 0)
	mark := make([]byte, 16)
	rand.Read(mark) // never fails
	err = c.tell(message{PID: os.Getpid(), FD: int(c), Addr: notify.AddressOf(mark), Mark: mark})
	if err == nil {
		_, _, err = c.hear()
	}
	runtime.KeepAlive(mark)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	fd, err := notify.Filter()
	if err != nil {
		return err
	}
	err = c.tell(message{}, fd)
	if err == nil {
		_, _, err = c.hear()
	}
	unix.Close(fd)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrStranded, err)
	}
	return err
}

// Supervisor runs the executable as a part of [Attend], if that is what it was started for, and ends the process then.
func Supervisor() {
	if len(os.Args) != 3 {
		return
	}
	switch os.Args[0] {
	case forkName:
		os.Exit(forkSupervisor())
	case supervisorName:
		os.Exit(supervise(os.Args[1], os.Args[2]))
	}
}

// forkSupervisor starts the supervisor and does not wait for it. What the program inherits is none of its business.
func forkSupervisor() int {
	if err := unix.CloseRange(channelFD+1, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 1
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = supervisorName
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{os.NewFile(channelFD, "channel")}
	if cmd.Start() != nil {
		return 1
	}
	return 0
}

// supervise serves a program until it and all that it has started have ended.
func supervise(socket, program string) int {
	// What ends the program's group is the program's to take; we end after it.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGTSTP, unix.SIGUSR1, unix.SIGUSR2)
	c := channel(channelFD)
	unix.CloseOnExec(channelFD)
	s, err := notify.New(notify.Config{Client: client.Config{Socket: socket, Program: program}})
	if err != nil {
		_ = c.tell(message{Error: err.Error()})
		return 1
	}
	fd, err := meet(c)
	if err != nil {
		_ = c.tell(message{Error: err.Error()})
		_ = s.Close()
		return 1
	}
	unix.Close(channelFD)
	if s.Serve(fd) != nil {
		return 1
	}
	return 0
}

// meet agrees with the program-to-be and returns the descriptor of its notifications.
func meet(c channel) (int, error) {
	if err := c.tell(message{PID: os.Getpid()}); err != nil {
		return -1, err
	}
	m, _, err := c.hear()
	if err != nil {
		return -1, err
	}
	if err := notify.Reachable(m.PID, m.FD, m.Addr, m.Mark); err != nil {
		return -1, fmt.Errorf("may not look into the program (%w): see kernel.yama.ptrace_scope", err)
	}
	if err := c.tell(message{}); err != nil {
		return -1, err
	}
	_, fd, err := c.hear()
	if err == nil && fd < 0 {
		err = errors.New("no notifications")
	}
	if err != nil {
		return -1, err
	}
	return fd, c.tell(message{})
}
